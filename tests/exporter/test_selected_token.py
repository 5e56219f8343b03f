"""A classifier's token is chosen behind the last attention: the same numbers, from fewer rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgekit.exporter.fusions.selected_token import choose_token_early
from edgekit.onnx_graph.passes import Pass, run_passes

WIDTH, INNER = 8, 12
RNG = np.random.default_rng(0)


def constant(graph: list[ir.Value], name: str, *shape: int) -> ir.Value:
    array = RNG.normal(size=shape).astype(np.float32)
    value = ir.Value(
        name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT), const_value=ir.tensor(array, name=name)
    )
    graph.append(value)
    return value


def states(name: str, width: int = WIDTH) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(["batch", "tokens", width]), type=ir.TensorType(ir.DataType.FLOAT))


def block(*, choose: int | list[int] = 0, also_read: bool = False, mixing: str | None = None) -> ir.Model:
    """(batch, tokens, 8) twice -> a block's end, and the token `choose` of it.

    `also_read`: the last normalisation's whole result is an output too; `mixing`: an operator before the choice that mixes tokens.
    """
    held: list[ir.Value] = []
    attended, skip = states("attended"), states("skip")
    nodes: list[ir.Node] = []

    def made(op: str, inputs: list[ir.Value], width: int, **options: int) -> ir.Value:
        node = ir.node(op, inputs, options, name=f"{op}{len(nodes)}", outputs=[states(f"value{len(nodes)}", width)])
        nodes.append(node)
        return node.outputs[0]

    projected = made(
        "Add", [made("MatMul", [attended, constant(held, "out", WIDTH, WIDTH)], WIDTH), constant(held, "bias", WIDTH)], WIDTH
    )
    norm = made("LayerNormalization", [made("Add", [projected, skip], WIDTH), constant(held, "scale", WIDTH)], WIDTH, axis=2)
    inner = made("Tanh", [made("MatMul", [norm, constant(held, "up", WIDTH, INNER)], INNER)], INNER)
    last = made("Add", [made("MatMul", [inner, constant(held, "down", INNER, WIDTH)], WIDTH), norm], WIDTH)
    if mixing == "Softmax":
        last = made("Softmax", [last], WIDTH, axis=1)
    elif mixing == "Mul":  # by a constant of its own for each token
        last = made("Mul", [last, constant(held, "by_token", 5, WIDTH)], WIDTH)
    index = np.array(choose)
    at = ir.Value(
        name="at", shape=ir.Shape(index.shape), type=ir.TensorType(ir.DataType.INT64), const_value=ir.tensor(index, name="at")
    )
    held.append(at)
    shape = ["batch", WIDTH] if index.ndim == 0 else ["batch", index.size, WIDTH]
    chosen = ir.Value(name="chosen", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
    nodes.append(ir.node("Gather", [last, at], {"axis": 1}, name="choice", outputs=[chosen]))
    outputs = [chosen, norm] if also_read else [chosen]
    graph = ir.Graph([attended, skip], outputs, nodes=nodes, initializers=held, opset_imports={"": 20}, name="block")
    return ir.Model(graph, ir_version=10)


def early(model: ir.Model) -> int:
    return run_passes(model, [Pass("choose-token-early", choose_token_early)]).get("choose-token-early", 0)


def run(model: ir.Model, path: Path, tokens: int) -> list[np.ndarray]:
    ir.save(model, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = np.random.default_rng(1).normal(size=(2, 3, tokens, WIDTH)).astype(np.float32)
    return [np.asarray(value) for value in session.run(None, {"attended": rows[0], "skip": rows[1]})]


@pytest.mark.parametrize("choose", [0, 4, -1])
def test_the_chosen_token_is_what_it_was(choose: int, tmp_path: Path) -> None:
    model = block(choose=choose)
    before = run(model, tmp_path / "before.onnx", 5)
    assert early(model) == 1
    assert [value.name for value in model.graph.outputs] == ["chosen"]
    after = run(model, tmp_path / "after.onnx", 5)
    assert after[0].shape == (3, WIDTH)
    assert after[0] == pytest.approx(before[0], rel=1e-5, abs=1e-6)


def test_every_product_behind_the_attention_reads_one_row(tmp_path: Path) -> None:
    model = block()
    early(model)
    products = [node for node in model.graph if node.op_type == "MatMul"]
    assert len(products) == 3
    assert [list(node.outputs[0].shape or ())[1:2] for node in products] == [[1], [1], [1]]
    assert early(model) == 0, "there is nothing left to move"


def test_what_is_read_beside_the_choice_is_computed_for_all_tokens(tmp_path: Path) -> None:
    model = block(also_read=True)
    before = run(model, tmp_path / "before.onnx", 5)
    assert early(model) == 1
    after = run(model, tmp_path / "after.onnx", 5)
    assert after[1].shape == (3, 5, WIDTH)
    for one, other in zip(before, after, strict=True):
        assert other == pytest.approx(one, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("make", [lambda: block(mixing="Softmax"), lambda: block(mixing="Mul"), lambda: block(choose=[0, 1])])
def test_tokens_that_depend_on_each_other_stay_together(make: Callable[[], ir.Model], tmp_path: Path) -> None:
    model = make()
    before = run(model, tmp_path / "before.onnx", 5)
    assert early(model) == 0
    assert np.array_equal(run(model, tmp_path / "after.onnx", 5)[0], before[0])
