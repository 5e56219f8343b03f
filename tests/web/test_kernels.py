"""Which kernels WebAssembly runs, seen in Node and in Chromium; what is not in integers there is said, and so is what could not be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from edgekit.audit import in_browser
from edgekit.audit.audit import audit
from edgekit.config.target import load_target
from edgekit.errors import NotPossibleHere
from edgekit.host import CHROMIUM, NODE, detect, engine_program
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.web import kernels
from tests.quantize.files import rewritten
from tests.web.node import node

WASM = load_target("web-wasm")


def quantized(tiny_export: Path, folder: Path) -> Path:
    rewritten(tiny_export / "fused.onnx", folder / "model.onnx", quantize_dynamic, WASM.quantize)
    return folder / "model.onnx"


def audited(path: Path) -> dict[str, Any]:
    return dict(audit(path, WASM, host_isa=frozenset(detect().isa), host_arch=detect().arch))


def test_kernels_are_seen_in_node(tiny_export: Path, tmp_path: Path) -> None:
    node()
    document = audited(quantized(tiny_export, tmp_path))
    assert document["kernels_observed"] and document["ok"], document["requirements"]
    assert document["kernels_run"]["DynamicQuantizeMatMul"] > 0 and not document["fallbacks"]
    assert "in Node" in document["notes"][0] and "16 bits" in document["notes"][1]


def test_where_nothing_can_run_them_that_is_said(tiny_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: Any, **__: Any) -> None:
        raise NotPossibleHere("npm is not here")

    monkeypatch.setattr(in_browser, "run_in_engine", nowhere)
    document = audited(quantized(tiny_export, tmp_path))
    assert document["kernels_observed"] is False and any("were not seen: npm is not here" in note for note in document["notes"])


def test_a_matmul_that_runs_as_another_kernel_fell_back(
    tiny_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node()
    real = kernels.run_in_engine

    def changed(*given: Any, **named: Any) -> kernels.Seen:
        seen = real(*given, **named)
        first = next(event for event in seen.events if event["args"]["op_name"] == "DynamicQuantizeMatMul")
        for event in seen.events:
            if event["name"] == first["name"]:
                event["args"]["op_name"] = "MatMul"
        return seen

    monkeypatch.setattr(in_browser, "run_in_engine", changed)
    document = audited(quantized(tiny_export, tmp_path))
    assert not document["ok"] and "WebAssembly ran MatMul in its place" in document["fallbacks"][0]["why"]


def small_weights(path: Path, level: int) -> np.ndarray:
    """A graph of one MatMul with weights in 4 bits by blocks of 32; returns an input."""
    draw = np.random.default_rng(3)
    rows, columns, blocks = 64, 48, 2
    packed = draw.integers(0, 256, (columns, blocks, 16), dtype=np.uint8)
    scales = draw.random(columns * blocks).astype(np.float32)
    constants = [numpy_helper.from_array(packed, "packed"), numpy_helper.from_array(scales, "scales")]
    numbers = {"K": rows, "N": columns, "bits": 4, "block_size": 32, "accuracy_level": level}
    made = helper.make_node("MatMulNBits", ["x", "packed", "scales"], ["y"], name="small", domain="com.microsoft", **numbers)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "tokens", size])
        for name, size in (("x", rows), ("y", columns))
    ]
    graph = helper.make_graph([made], "small", ends[:1], ends[1:], constants)
    save(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)], ir_version=10
        ),
        str(path),
    )
    return draw.standard_normal((1, 5, rows)).astype(np.float32)


def test_a_long_profile_is_read_whole(tmp_path: Path) -> None:
    node()
    given = small_weights(tmp_path / "model.onnx", 4)
    seen = kernels.run_in_engine(tmp_path / "model.onnx", [{"x": given}] * 400)
    assert [event["args"]["op_name"] for event in seen.events] == ["MatMulNBits"] * 400


@pytest.mark.parametrize("engine", [NODE, CHROMIUM])
def test_small_weights_are_told_apart_by_their_bits(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node()
    if engine_program(engine) is None:
        pytest.skip(f"no {engine} here")
    monkeypatch.setattr(kernels, "engine_releases", lambda: {engine: "1"})
    given = small_weights(tmp_path / "model.onnx", 4)
    import onnx

    found = in_browser.seen_in_browser(
        tmp_path / "model.onnx", [{"x": given}], onnx.load(str(tmp_path / "model.onnx")), {"MatMulNBits"}
    )
    assert found.why is None and found.kernels["MatMulNBits"] == 1 and not found.others
    assert f"in {engine} 1" in found.notes[0]
    assert "do NOT multiply in integers" in found.notes[1]
    plain = small_weights(tmp_path / "model.onnx", 0)
    other = in_browser.seen_in_browser(
        tmp_path / "model.onnx", [{"x": plain}], onnx.load(str(tmp_path / "model.onnx")), {"MatMulNBits"}
    )
    assert "as accuracy_level asks" in other.notes[1]
