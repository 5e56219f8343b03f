"""Bias correction: the mean of every column is right again, wherever its bias stands."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import BadInput
from edgekit.onnx_graph.initializers import array_of
from edgekit.onnx_graph.linear import LinearNode, bias_input, linear_nodes
from edgekit.quantize.bias_correction import correct_biases, expected_error, input_means
from edgekit.quantize.observe import Feed, observer
from edgekit.quantize.weights import quantize_weight
from tests.quantize.files import outputs, rewritten


def coarse(weight: np.ndarray) -> np.ndarray:
    """A weight rounded far too much, so that its error is seen: one step for the whole tensor, 15 levels."""
    step = np.abs(weight).max() / 7
    return np.asarray(np.rint(weight / step) * step, dtype=np.float32)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), rows=st.integers(1, 40), offset=st.floats(-3, 3))
def test_the_expected_error_is_the_mean_error(seed: int, rows: int, offset: float) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 6)) + offset
    weight = random.normal(size=(6, 4)).astype(np.float32)
    rounded = quantize_weight(weight, per_channel=False, reduce_range=True).restored()
    brute = (x @ rounded.astype(np.float64) - x @ weight.astype(np.float64)).mean(axis=0)
    assert np.allclose(expected_error(x.mean(axis=0), weight, rounded), brute, atol=1e-12)


def corrected(
    source: Path, out: Path, restored: Callable[[np.ndarray], np.ndarray], feeds: list[Feed], keep: Collection[str] = ()
) -> dict[str, int]:
    return rewritten(source, out, correct_biases, restored, input_means(ir.load(source), feeds), keep=keep)


def with_weights_rounded(path: Path, out: Path) -> None:
    """Model `path` with every product's weight replaced by its rounded form, still in float32."""
    model = ir.load(path)
    for linear in linear_nodes(model.graph):
        value = ir.Value(name=f"{linear.node.name}.rounded")
        weight = coarse(linear.weight)
        transposed = linear.node.op_type == "Gemm" and linear.node.attributes["transB"].as_int()
        value.const_value = ir.tensor(np.ascontiguousarray(weight.T) if transposed else weight, name=value.name)
        model.graph.initializers[str(value.name)] = value
        linear.node.replace_input_with(1, value)
    ir.save(model, out)


def after_bias(linear: LinearNode) -> str:
    """The tensor right behind a product's bias, where a node of its own adds it."""
    (user, _), *_ = linear.node.outputs[0].uses()
    return str((user if user.op_type == "Add" else linear.node).outputs[0].name)


def test_the_mean_of_the_first_layer_is_right_again(tiny_export: Path, train_feeds: list[Feed], tmp_path: Path) -> None:
    source, better = tiny_export / "fused.onnx", tmp_path / "corrected.onnx"
    counts = corrected(source, better, coarse, train_feeds)
    assert counts == {"corrected": 3 * 6 + 2}
    with_weights_rounded(source, tmp_path / "plain.onnx")
    with_weights_rounded(better, tmp_path / "better.onnx")
    names = [after_bias(linear) for linear in linear_nodes(ir.load(source).graph)[:3]]  # read the unchanged embeddings
    means = []
    for path in (source, tmp_path / "plain.onnx", tmp_path / "better.onnx"):
        run = observer(ir.load(path), names)
        rows = [run(feed) for feed in train_feeds]
        means.append([np.concatenate([row[index][0] for row in rows]).mean(axis=0) for index in range(3)])
    for whole, plain, better in zip(*means, strict=True):
        assert np.abs(plain - whole).max() > 1e-2, "the rounding must be seen for its correction to be"
        assert np.abs(better - whole).max() < 1e-4


def test_every_bias_moves_by_the_mean_error_of_its_product(tiny_export: Path, train_feeds: list[Feed], tmp_path: Path) -> None:
    """Whether the model's outputs come closer is the data's affair: of five coarse steps tried on this model, two did."""
    corrected(tiny_export / "fused.onnx", tmp_path / "corrected.onnx", coarse, train_feeds)
    before, after = ir.load(tiny_export / "fused.onnx"), ir.load(tmp_path / "corrected.onnx")
    found = linear_nodes(before.graph)
    names = [str(linear.node.inputs[0].name) for linear in found if linear.node.inputs[0]]
    run = observer(before, sorted(set(names)))
    rows = [dict(zip(sorted(set(names)), run(feed), strict=True)) for feed in train_feeds]
    for old, new, name in zip(found, linear_nodes(after.graph), names, strict=True):
        x = np.concatenate([row[name].reshape(-1, row[name].shape[-1]) for row in rows]).astype(np.float64)
        error = (x @ coarse(old.weight).astype(np.float64) - x @ old.weight.astype(np.float64)).mean(axis=0)
        biases = [array_of(node.inputs[index]) for node, index in (bias_input(old.node), bias_input(new.node))]
        assert biases[0] is not None and biases[1] is not None
        assert np.allclose(biases[1] - biases[0], -error, atol=1e-6)


def test_weights_that_lose_nothing_change_nothing(
    tiny_export: Path, train_feeds: list[Feed], test_feeds: list[Feed], tmp_path: Path
) -> None:
    corrected(tiny_export / "fused.onnx", tmp_path / "same.onnx", lambda weight: weight, train_feeds)
    assert np.array_equal(outputs(tiny_export / "fused.onnx", test_feeds), outputs(tmp_path / "same.onnx", test_feeds))


@pytest.mark.parametrize("kind", ["MatMul", "Gemm"])
def test_a_product_without_a_bias_gets_one(tmp_path: Path, kind: str) -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    x = ir.Value(name="attention_mask", shape=ir.Shape([None, 4]), type=ir.TensorType(ir.DataType.FLOAT))
    first = ir.node("Relu", [x])
    fixed = ir.Value(name="w", shape=ir.Shape(weight.shape), const_value=ir.tensor(weight, name="w"))
    node = ir.node(kind, [first.outputs[0], fixed], name="product")
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "y", x.type, ir.Shape([None, 3])
    graph = ir.Graph([x], node.outputs, nodes=[first, node], initializers=[fixed], opset_imports={"": 20})
    ir.save(ir.Model(graph, ir_version=10), tmp_path / "in.onnx")
    feed = {"attention_mask": np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)}
    corrected(tmp_path / "in.onnx", tmp_path / "out.onnx", coarse, [feed])
    hidden = np.maximum(feed["attention_mask"], 0)
    moved = outputs(tmp_path / "out.onnx", [feed]) - outputs(tmp_path / "in.onnx", [feed])
    assert np.allclose(moved, -(hidden @ (coarse(weight) - weight)).mean(axis=0), atol=1e-5)


def test_products_that_stay_in_float_are_left_alone(
    tiny_export: Path, train_feeds: list[Feed], test_feeds: list[Feed], tmp_path: Path
) -> None:
    source = tiny_export / "fused.onnx"
    names = [str(linear.node.name) for linear in linear_nodes(ir.load(source).graph)]
    assert corrected(source, tmp_path / "a.onnx", coarse, train_feeds, keep=names[:5]) == {"corrected": len(names) - 5}
    corrected(source, tmp_path / "b.onnx", coarse, train_feeds, keep=names)
    assert np.array_equal(outputs(source, test_feeds), outputs(tmp_path / "b.onnx", test_feeds))
    with pytest.raises(BadInput, match="no calibration rows"):
        corrected(source, tmp_path / "c.onnx", coarse, [])
