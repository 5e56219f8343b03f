"""Undo two fusions that cost time on the CPU: SkipLayerNormalization and BiasGelu.

ONNX Runtime's CPU kernel of SkipLayerNormalization (contrib_ops/cpu/skip_layer_norm.cc) adds number after number, where that of
LayerNormalization (core/providers/cpu/nn/layer_norm_impl.cc) uses vectors. With 1.32.0 on an AVX-512 chip, one thread, 384 wide,
a sum and its normalisation take 33 us against 264 us at 170 tokens, and 2.7 us against 17 us at 11 (medians, interleaved): a
quarter of the whole INT8 model. BiasGelu walks over the numbers once more, which an integer MatMul, adding its own bias, makes needless.
Session start would fuse `Add` and LayerNormalization again; `Sum` of two is as fast and is left alone.
"""

from __future__ import annotations

import onnx_ir as ir

from edgekit.onnx_graph.match import attributes
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.onnx_graph.rewrite import replace

__all__ = ["unfuse"]


def unfuse(model: ir.Model) -> dict[str, int]:
    """Take the float32 SkipLayerNormalization and BiasGelu of `model` apart, in place; returns how many of each were.

    Biases become an `Add` right behind their MatMul, where every quantizer finds them.
    """
    graph, counts = model.graph, {"norms": 0, "gelus": 0}
    for node in list(graph):
        if node.op_type == "SkipLayerNormalization" and not any(value.uses() for value in node.outputs[1:3]):
            _norm(graph, node)
            counts["norms"] += 1
        elif node.op_type == "BiasGelu":
            name = node.name or str(node.outputs[0].name)
            add = ir.node("Add", list(node.inputs), name=f"{name}.bias")
            gelu = ir.node("Gelu", [add.outputs[0]], domain=MICROSOFT, name=name)
            _like(add.outputs[0], node.inputs[0])
            _in_place(graph, node, [add, gelu])
            counts["gelus"] += 1
    return counts


def _norm(graph: ir.Graph, node: ir.Node) -> None:
    """(x + bias) + skip, normalised; the sum itself is handed on where it is read again."""
    name = node.name or str(node.outputs[0].name)
    first, skip, scale, *others = node.inputs
    shift, bias = [*others, None, None][:2]
    new = []
    if bias is not None:
        new.append(ir.node("Add", [first, bias], name=f"{name}.bias"))
        _like(new[-1].outputs[0], first)
        first = new[-1].outputs[0]
    total = ir.node("Sum", [first, skip], name=f"{name}.sum")
    _like(total.outputs[0], node.inputs[0])
    given = [total.outputs[0], scale, *([shift] if shift is not None else [])]
    norm = ir.node("LayerNormalization", given, {"axis": -1, "epsilon": attributes(node)["epsilon"]}, name=name)
    if len(node.outputs) > 3:
        node.outputs[3].replace_all_uses_with(total.outputs[0], replace_graph_outputs=True)
    _in_place(graph, node, [*new, total, norm])


def _in_place(graph: ir.Graph, old: ir.Node, new: list[ir.Node]) -> None:
    """Put `new` where `old` stands; the last one's result keeps the name of old's, by which ranges are known."""
    result, name = new[-1].outputs[0], old.outputs[0].name
    old.outputs[0].name = f"{name}.before"
    replace(graph, [old], new, result)
    result.name = name


def _like(value: ir.Value, other: ir.Value | None) -> None:
    if other is not None:
        value.type, value.shape = other.type, other.shape
