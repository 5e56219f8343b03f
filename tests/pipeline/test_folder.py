"""How packed files get into the result folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgekit.draft.given import given
from edgekit.errors import BadInput
from edgekit.models.files import check_files
from edgekit.pipeline.folder import CHECKPOINT, lay_out, point_to_checkpoint


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """What a pack stage leaves."""
    folder = tmp_path / "packed"
    (folder / "bundle").mkdir(parents=True)
    for name in ("bundle/model.onnx", "bundle/manifest.json", "bundle.tar.gz", "runner.pyz"):
        (folder / name).write_text(name)
    return folder


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_everything_is_there_and_a_second_time_changes_nothing(packed: Path, tmp_path: Path) -> None:
    result = tmp_path / "build" / "recipe-target"
    assert lay_out(packed, result) and files(result) == files(packed)
    before = (result / "bundle").stat().st_ino
    assert not lay_out(packed, result) and (result / "bundle").stat().st_ino == before


@pytest.mark.parametrize("spoil", ["change", "add", "remove", "archive"])
def test_what_differs_is_replaced_and_the_rest_is_left(packed: Path, tmp_path: Path, spoil: str) -> None:
    result = tmp_path / "result"
    lay_out(packed, result)
    (result / "bench.json").write_text("{}")
    if spoil == "change":
        (result / "bundle" / "model.onnx").write_text("other")
    elif spoil == "add":
        (result / "bundle" / "more").write_text("x")
    elif spoil == "remove":
        (result / "bundle" / "model.onnx").unlink()
    else:
        (result / "bundle.tar.gz").unlink()
    assert lay_out(packed, result)
    assert files(result) == files(packed) | {"bench.json": "{}"}


def test_the_checkpoint_is_the_last_steps_and_goes_with_them(tmp_path: Path) -> None:
    result, store = tmp_path / "build" / "recipe-target", tmp_path / "build" / "store"
    result.mkdir(parents=True)
    for key in ("one", "two"):
        (store / key).mkdir(parents=True)
        (store / key / "config.json").write_text(key)
        point_to_checkpoint(store / key, result)
        assert (result / CHECKPOINT / "config.json").read_text() == key
    (tmp_path / "build").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "recipe-target" / CHECKPOINT / "config.json").read_text() == "two", (
        "the build folder can be moved"
    )
    (tmp_path / "moved").rename(tmp_path / "build")
    (store / "two" / "model.safetensors").write_bytes(b"")
    (result / "bundle").mkdir()
    (result / "bundle" / "config.json").write_text("{}")
    with pytest.raises(BadInput, match=r"no model, but a folder of one: checkpoint\n  fix: name .*/recipe-target/checkpoint"):
        check_files(result)
    with pytest.raises(BadInput, match="no model, but folders of models: checkpoint\n"):
        given(str(result))
    shutil.rmtree(result / "bundle")
    point_to_checkpoint(None, result)
    assert not [*result.iterdir()] and (store / "two" / "config.json").is_file(), "the link alone goes"
