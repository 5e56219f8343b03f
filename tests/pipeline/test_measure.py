"""Whether a result's bench.json is of its bundle: the files that were timed, all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.pipeline.measure import is_measured

ASSETS = {
    name: {"sha256": digest, "size": 1}
    for name, digest in {"model.onnx": "a", "model.onnx.data": "b", "tokenizer.json": "c"}.items()
}


def write(folder: Path, **bench: Any) -> Path:
    """A result folder with a bundle of `ASSETS` and a bench.json of it, changed by `bench`."""
    (folder / "bundle").mkdir(exist_ok=True)
    (folder / "bundle" / "manifest.json").write_text(json.dumps({"assets": ASSETS}))
    files = {name: asset["sha256"] for name, asset in ASSETS.items()}
    (folder / "bench.json").write_text(json.dumps({"complete": True, "artifact_sha256": "a", "files_sha256": files} | bench))
    return folder


def test_the_same_files_are_measured(tmp_path: Path) -> None:
    assert is_measured(write(tmp_path), tmp_path / "bundle")


@pytest.mark.parametrize(
    "bench",
    [
        {"complete": False},
        {"artifact_sha256": "other"},
        {"files_sha256": {"model.onnx": "a", "model.onnx.data": "other", "tokenizer.json": "c"}},
        {"files_sha256": {"model.onnx": "a", "tokenizer.json": "c"}},
    ],
)
def test_other_files_are_not(tmp_path: Path, bench: dict[str, Any]) -> None:
    assert not is_measured(write(tmp_path, **bench), tmp_path / "bundle")


def test_a_result_of_an_earlier_edgekit_is_still_read(tmp_path: Path) -> None:
    folder = write(tmp_path)
    document = json.loads((folder / "bench.json").read_text())
    del document["files_sha256"]
    (folder / "bench.json").write_text(json.dumps(document))
    assert is_measured(folder, folder / "bundle")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"complete": true}'])
def test_what_cannot_be_read_is_no_measurement(tmp_path: Path, text: str) -> None:
    folder = write(tmp_path)
    (folder / "bench.json").write_text(text)
    assert not is_measured(folder, folder / "bundle")
    (folder / "bench.json").unlink()
    assert not is_measured(folder, folder / "bundle")
