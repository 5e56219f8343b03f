"""Attention as the CUDA provider likes it: one MatMul for queries, keys and values, and padding as an attention bias.

With a padding mask of shape (b, s) the provider computes the scores of all heads, b x heads x s x s numbers, and keeps them; with a
bias it takes its memory-efficient kernel wherever s is a multiple of 8. The bias is 0 where a token is shown and -30,000 where it
is not, which float16 holds and softmax makes nought. Both forms mean the same on every provider.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.match import producer_of, same_shape
from edgekit.onnx_graph.operators import MICROSOFT

__all__ = ["for_cuda"]

HIDDEN = -30_000.0


def for_cuda(graph: ir.Graph) -> int:
    """Rewrite every MultiHeadAttention of float32 `graph` that has the form which `edgekit.exporter` gives it; returns how many."""
    _without_expansions(graph)
    nodes = [node for node in graph if node.op_type == "MultiHeadAttention" and node.domain == MICROSOFT]
    return sum(bool(_one_matmul(graph, node)) + bool(_bias_for_mask(graph, node)) > 0 for node in nodes)


def _without_expansions(graph: ir.Graph) -> None:
    """Expand before an operator that broadcasts by itself goes: the shape it reads would be put together on the CPU."""
    for node in [item for item in graph if item.op_type == "Expand"]:
        users = [(user, index) for user, index in node.outputs[0].uses() if user.op_type in {"Div", "Mul", "Add", "Sub"}]
        if len(users) == len(node.outputs[0].uses()) and all(
            same_shape(user.inputs[1 - index], user.outputs[0]) for user, index in users
        ):
            node.outputs[0].replace_all_uses_with(node.inputs[0])


def _one_matmul(graph: ir.Graph, node: ir.Node) -> bool:
    """x Wq + bq, x Wk + bk, x Wv + bv as one MatMul that is split, its bias added inside the attention."""
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        return False
    adds = [producer_of(value, "Add") for value in node.inputs[:3]]
    matmuls = [producer_of(add.inputs[0], "MatMul") if add is not None else None for add in adds]
    projections: list[tuple[np.ndarray, np.ndarray]] = []
    for add, matmul in zip(adds, matmuls, strict=True):
        bias, weight = (
            array_of(add.inputs[1]) if add is not None else None,
            array_of(matmul.inputs[1]) if matmul is not None else None,
        )
        if bias is None or weight is None or bias.ndim != 1 or weight.ndim != 2:
            return False
        projections.append((weight, bias))
    x = {matmul.inputs[0] for matmul in matmuls if matmul is not None}
    if len(x) != 1:
        return False
    name = node.name or "attention"
    weight = add_initializer(graph, f"{name}.qkv.weight", np.concatenate([weight for weight, _ in projections], axis=1))
    bias = add_initializer(graph, f"{name}.qkv.bias", np.concatenate([bias for _, bias in projections]))
    sizes = add_initializer(
        graph, f"{name}.qkv.sizes", np.array([weight.shape[1] for weight, _ in projections], dtype=np.int64)
    )
    matmul = ir.node("MatMul", [x.pop(), weight], name=f"{name}.qkv")
    split = ir.node("Split", [matmul.outputs[0], sizes], {"axis": -1}, num_outputs=3, name=f"{name}.qkv.split")
    for output in (matmul.outputs[0], *split.outputs):
        output.dtype = ir.DataType.FLOAT
    graph.insert_before(node, [matmul, split])
    for index, value in enumerate((*split.outputs, bias)):
        _set_input(node, index, value)
    return True


def _bias_for_mask(graph: ir.Graph, node: ir.Node) -> bool:
    """The padding mask (input 4) as an attention bias (input 5)."""
    mask = next((value for value in graph.inputs if value.name == "attention_mask"), None)
    padding = node.inputs[4] if len(node.inputs) > 4 else None
    taken = len(node.inputs) > 5 and node.inputs[5] is not None
    cast = producer_of(padding, "Cast")
    if mask is None or taken or cast is None or cast.inputs[0] is not mask:
        return False
    _set_input(node, 4, None)
    _set_input(node, 5, _bias(graph, mask))
    return True


def _bias(graph: ir.Graph, mask: ir.Value) -> ir.Value:
    """(b, 1, s, s) of `mask` (b, s), made once. No shape is read, so that nothing is left for the CPU."""
    there = next((node for node in graph if node.name == "attention_bias"), None)
    if there is not None:
        return there.outputs[0]
    first = graph[0]

    def op(kind: str, inputs: list[ir.Value], name: str, **options: ir.DataType) -> ir.Value:
        node = ir.node(kind, inputs, options, name=name)
        node.outputs[0].dtype = ir.DataType.FLOAT
        graph.insert_before(first, node)
        return node.outputs[0]

    shown = op("Cast", [mask], "attention_bias.shown", to=ir.DataType.FLOAT)
    absent = op(
        "Sub", [add_initializer(graph, "attention_bias.one", np.array(1, dtype=np.float32)), shown], "attention_bias.absent"
    )
    low = op(
        "Mul", [absent, add_initializer(graph, "attention_bias.low", np.array(HIDDEN, dtype=np.float32))], "attention_bias.keys"
    )
    none = op("Sub", [shown, shown], "attention_bias.none")
    keys = op("Unsqueeze", [low, add_initializer(graph, "attention_bias.axes.keys", np.array([1, 2]))], "attention_bias.row")
    queries = op(
        "Unsqueeze", [none, add_initializer(graph, "attention_bias.axes.queries", np.array([1, 3]))], "attention_bias.column"
    )
    return op("Add", [keys, queries], "attention_bias")


def _set_input(node: ir.Node, index: int, value: ir.Value | None) -> None:
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)
