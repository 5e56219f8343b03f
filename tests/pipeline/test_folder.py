"""How packed files get into the result folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.pipeline.folder import lay_out


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
