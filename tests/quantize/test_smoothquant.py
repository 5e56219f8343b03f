"""SmoothQuant: the same function in float32, flatter activations, and less lost in INT8 where channels stand out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.config.target import load_target
from edgekit.errors import BadInput
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.quantize.observe import Feed, channel_extremes
from edgekit.quantize.smoothquant import migration, smooth
from tests.quantize.files import outputs, rewritten

VNNI = load_target("x86-vnni").quantize


def random_graph(path: Path, seed: int, *, relu: bool, transposed: bool, bias: bool) -> None:
    """x -> LayerNormalization -> product -> Relu or nothing -> product, with a second reader of the normalisation."""
    random = np.random.default_rng(seed)
    width, inner = 8, 12

    def fixed(name: str, *shape: int) -> ir.Value:
        array = (random.normal(size=shape) * random.choice([0.1, 1, 30], size=shape[-1:])).astype(np.float32)
        return ir.Value(name=name, shape=ir.Shape(shape), const_value=ir.tensor(array, name=name))

    x = ir.Value(name="attention_mask", shape=ir.Shape([None, width]), type=ir.TensorType(ir.DataType.FLOAT))
    constants = [fixed("scale", width), fixed("shift", width)]
    norm = ir.node("LayerNormalization", [x, *(constants if bias else constants[:1])], {"axis": -1}, name="norm")
    up_weight = fixed("up", inner, width) if transposed else fixed("up", width, inner)
    up_bias = [fixed("up.bias", inner)] if bias else []
    up = ir.node("Gemm", [norm.outputs[0], up_weight, *up_bias], {"transB": int(transposed)}, name="gemm")
    between = ir.node("Relu" if relu else "Tanh", [up.outputs[0]], name="between")
    down_weight = fixed("down", inner, width)
    down = ir.node("MatMul", [between.outputs[0], down_weight], name="matmul")
    total = ir.node("Add", [down.outputs[0], norm.outputs[0]], name="sum")
    total.outputs[0].name = "y"
    total.outputs[0].type, total.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([None, width])
    used = [*(constants if bias else constants[:1]), up_weight, *up_bias, down_weight]
    graph = ir.Graph([x], [total.outputs[0]], nodes=[norm, up, between, down, total], initializers=used, opset_imports={"": 20})
    ir.save(ir.Model(graph, ir_version=10), path)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 9999), alpha=st.floats(0, 1), relu=st.booleans(), transposed=st.booleans(), bias=st.booleans()
)  # fmt: skip
def test_any_graph_computes_what_it_did(
    tmp_path_factory: pytest.TempPathFactory, seed: int, alpha: float, relu: bool, transposed: bool, bias: bool
) -> None:
    folder = tmp_path_factory.mktemp("smooth")
    random_graph(folder / "in.onnx", seed, relu=relu, transposed=transposed, bias=bias)
    feeds = [{"attention_mask": np.random.default_rng(seed).normal(size=(5, 8)).astype(np.float32)} for _ in range(3)]
    counts = rewritten(folder / "in.onnx", folder / "out.onnx", smooth, alpha, feeds)
    assert counts == {"norms": 1, "linears": int(relu), "restored": 1}
    before, after = outputs(folder / "in.onnx", feeds), outputs(folder / "out.onnx", feeds)
    assert np.abs(before - after).max() <= 1e-4 * max(1.0, float(np.abs(before).max()))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), alpha=st.floats(0, 1))
def test_factors_are_equation_4(seed: int, alpha: float) -> None:
    random = np.random.default_rng(seed)
    x, w = np.abs(random.normal(size=(2, 9))) + 0.01
    found = migration(x, w, alpha)
    assert np.allclose(found, x**alpha / w ** (1 - alpha), rtol=1e-5)
    if alpha == 0.5:
        assert np.allclose(x / found, w * found, rtol=1e-5)


def test_dead_channels_are_left_alone() -> None:
    assert migration(np.array([0.0, 2.0, 0.0]), np.array([1.0, 0.0, 0.0]), 0.5).tolist() == [1, 1, 1]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.85, 1.0])
def test_the_tiny_encoder_computes_what_it_did(
    tiny_export: Path, train_feeds: list[Feed], test_feeds: list[Feed], tmp_path: Path, alpha: float
) -> None:
    counts = rewritten(tiny_export / "fused.onnx", tmp_path / "smooth.onnx", smooth, alpha, train_feeds)
    assert counts == {"norms": 7, "linears": 3, "restored": 6}, (
        "two normalisations and the attention's values in each layer, and what the head reads"
    )
    whole, smoothed = (outputs(path, test_feeds) for path in (tiny_export / "fused.onnx", tmp_path / "smooth.onnx"))
    assert np.abs(whole - smoothed).max() <= 1e-4


def test_extremes_become_flat(outlier_export: Path, train_feeds: list[Feed], tmp_path: Path) -> None:
    rewritten(outlier_export, tmp_path / "smooth.onnx", smooth, 1.0, train_feeds)
    model = ir.load(tmp_path / "smooth.onnx")
    name = next(node for node in model.graph if node.op_type == "SkipLayerNormalization").outputs[0].name
    assert name is not None
    found = channel_extremes(model, [name], train_feeds)[name]
    assert np.allclose(found, 1, rtol=1e-3), "at alpha 1 every channel's extreme is 1"


def test_less_is_lost_where_channels_stand_out(
    outlier_export: Path, train_feeds: list[Feed], test_feeds: list[Feed], tmp_path: Path
) -> None:
    rewritten(outlier_export, tmp_path / "smooth.onnx", smooth, 0.5, train_feeds)
    whole = outputs(outlier_export, test_feeds)
    errors = []
    for source in (outlier_export, tmp_path / "smooth.onnx"):
        rewritten(source, tmp_path / "int8.onnx", quantize_dynamic, VNNI)
        errors.append(float(((outputs(tmp_path / "int8.onnx", test_feeds) - whole) ** 2).mean()))
    assert errors[1] < errors[0] / 4


def test_what_cannot_be_smoothed_is_refused(tiny_export: Path, train_feeds: list[Feed], tmp_path: Path) -> None:
    source, out = tiny_export / "fused.onnx", tmp_path / "out.onnx"
    with pytest.raises(BadInput, match="not between 0 and 1"):
        rewritten(source, out, smooth, 1.5, train_feeds)
    with pytest.raises(BadInput, match="no calibration rows"):
        rewritten(source, out, smooth, 0.5, [])
    padding = [{"input_ids": np.zeros((1, 4), dtype=np.int64), "attention_mask": np.zeros((1, 4), dtype=np.int64)}]
    with pytest.raises(BadInput, match="no calibration rows"):
        rewritten(source, out, smooth, 0.5, padding)
    x = ir.Value(name="attention_mask", shape=ir.Shape([None, 2]), type=ir.TensorType(ir.DataType.FLOAT))
    same = ir.node("Identity", [x])
    same.outputs[0].name, same.outputs[0].type = "y", x.type
    ir.save(ir.Model(ir.Graph([x], same.outputs, nodes=[same], opset_imports={"": 20}), ir_version=10), tmp_path / "none.onnx")
    with pytest.raises(BadInput, match="no linear layer stands behind"):
        rewritten(tmp_path / "none.onnx", out, smooth, 0.5, train_feeds)
