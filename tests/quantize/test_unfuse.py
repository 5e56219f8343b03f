"""The fusions undone for the CPU: same numbers, and nothing that session start would fuse again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.quantize.unfuse import unfuse
from tests.quantize.files import rewritten

WIDTH = 16
MICROSOFT = "com.microsoft"


def _model(path: Path, *, bias: bool, handed_on: bool) -> dict[str, np.ndarray]:
    """x @ w, SkipLayerNormalization with a row of positions, BiasGelu; the sum is an output where `handed_on`."""
    generator = np.random.default_rng(0)
    numbers = {name: generator.normal(size=WIDTH) for name in ("scale", "shift", "bias", "raise")}
    numbers |= {"weight": generator.normal(size=(WIDTH, WIDTH)), "row": generator.normal(size=(5, WIDTH))}
    inputs = ["product", "row", "scale", "shift", *(["bias"] if bias else [])]
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"], name="linear"),
        helper.make_node(
            "SkipLayerNormalization", inputs, ["normal", "", "", "sum"] if handed_on else ["normal"], "norm",
            domain=MICROSOFT, epsilon=1e-5,
        ),
        helper.make_node("BiasGelu", ["normal", "raise"], ["y"], "gelu", domain=MICROSOFT),
    ]  # fmt: skip
    shape = ["batch", 5, WIDTH]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ["y", *(["sum"] if handed_on else [])]]
    constants = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in numbers.items()]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "g", given, outputs, constants), opset_imports=opsets, ir_version=10), path
    )
    return numbers


def _run(path: Path, x: np.ndarray, optimised: Path | None = None) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimised:
        options.optimized_model_filepath = str(optimised)
    return list(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, {"x": x}))


@pytest.mark.parametrize("handed_on", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_the_split_model_computes_the_same(tmp_path: Path, bias: bool, handed_on: bool) -> None:
    numbers = _model(tmp_path / "fused.onnx", bias=bias, handed_on=handed_on)
    counts = rewritten(tmp_path / "fused.onnx", tmp_path / "split.onnx", unfuse)
    assert counts == {"norms": 1, "gelus": 1}
    x = np.random.default_rng(1).normal(size=(2, 5, WIDTH)).astype(np.float32)
    found = _run(tmp_path / "split.onnx", x, tmp_path / "optimised.onnx")
    total = x @ numbers["weight"] + (numbers["bias"] if bias else 0) + numbers["row"]
    centred = total - total.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * numbers["scale"] + numbers["shift"]
    raised = normal + numbers["raise"]
    erf = np.vectorize(__import__("math").erf)
    np.testing.assert_allclose(found[0], raised * (1 + erf(raised / np.sqrt(2))) / 2, atol=2e-5)
    for one, other in zip(found, _run(tmp_path / "fused.onnx", x), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kinds["LayerNormalization"] == kinds["Sum"] == 1 and "SkipLayerNormalization" not in kinds


def test_a_norm_whose_statistics_are_read_stays_whole(tmp_path: Path) -> None:
    _model(tmp_path / "fused.onnx", bias=False, handed_on=False)
    model = onnx.load(tmp_path / "fused.onnx")
    model.graph.node[1].output.append("mean")
    model.graph.output.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["batch", 5, 1]))
    onnx.save(model, tmp_path / "fused.onnx")
    rewritten(tmp_path / "fused.onnx", tmp_path / "split.onnx", unfuse)
    assert "SkipLayerNormalization" in {node.op_type for node in onnx.load(tmp_path / "split.onnx").graph.node}
