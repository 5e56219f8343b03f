"""Phones: the runner on an ONNX Runtime that is no WebAssembly, by the interface that onnxruntime-react-native has too, and a graph alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.pack.layouts import find_layouts
from edgekit.runtime.bundle.open import open_bundle
from lanes.web.transformers_js import module
from tests.web.node import ran, released

NATIVE = module().parents[3] / "onnxruntime-node" / "dist" / "index.js"


def test_the_runner_answers_on_another_onnxruntime(tmp_path: Path) -> None:
    if not NATIVE.is_file():
        pytest.skip("onnxruntime-node is not here; `make test-web` fetches it with transformers.js")
    bundle = released("classifier", tmp_path)
    opened = open_bundle(bundle)
    (layout,) = find_layouts(["ort"], opened)
    (tmp_path / "ort").mkdir()
    layout.write(opened, tmp_path / "ort")
    found = ran(
        "native.mjs", {"bundle": str(bundle), "ort": NATIVE.as_uri(), "ortFile": str(tmp_path / "ort" / "model.ort")}, tmp_path
    )
    assert found["verified"]["ok"] and found["answer"]["label"] == "on"
    assert found["graph"] < 0.1 and found["ort"] < 0.1
