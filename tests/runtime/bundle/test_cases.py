"""Hostile bundles that were found, where the shared folder has them: each is refused by load, by one message."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgekit.errors import EdgekitError
from edgekit.runtime.bundle import proof
from edgekit.runtime.bundle.known import KNOWN
from edgekit.runtime.model import load

CASES = [
    "config-not-json", "golden-no-rows", "onnx-constant-infinite-loop", "onnx-gather-out-of-bounds", "onnx-giant-dynamic-expand",
    "onnx-infinite-loop", "onnx-no-inputs", "onnx-output-bf16", "onnx-runtime-reshape-fail", "server-worker-dies", "tokenizer-doubling",
    "tokenizer-no-unk", "tokenizer-panic",
]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    hostile = shared / "cases" / "hostile"
    if not (hostile / name / "bundle").is_dir():
        pytest.skip(f"no case {name} at {hostile}")
    monkeypatch.delenv(proof.PROOF)
    monkeypatch.setenv(KNOWN, str(tmp_path / "known"))
    folder = tmp_path / "bundle"
    folder.mkdir()
    for source in (hostile / "base" / "bundle", hostile / name / "bundle"):
        for path in source.iterdir():
            (folder / path.name).unlink(missing_ok=True)
            shutil.copyfile(path, folder / path.name)
    with pytest.raises(EdgekitError) as fault:
        load(folder)
    assert str(folder) in str(fault.value) and len(str(fault.value)) < 1000
