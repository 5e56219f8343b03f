"""Dynamic INT8: weights fixed in 8 bits, each activation's range found as it is computed.

The graph is written in the operators ONNX Runtime's CPU provider would fuse to at session start (`DynamicQuantizeMatMul`,
contrib_ops/cpu/quantization/dynamic_quantize_matmul.cc), so a session opens faster and nothing depends on its fusions
matching. Query, key and value of one layer become a single `QAttention` (attention_quant.cc), which quantizes their
common input once. Activations are uint8, asymmetric, one range a tensor: with padding or a batch the range spans all rows.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgekit.config.quantize import Int8
from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.linear import LinearNode, bias_add, linear_nodes
from edgekit.onnx_graph.match import attributes
from edgekit.onnx_graph.metadata import keep_float
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.onnx_graph.rewrite import replace
from edgekit.quantize.embedding import quantize_embeddings
from edgekit.quantize.weights import Integers, quantize_weight

__all__ = ["quantize_dynamic"]


def quantize_dynamic(model: ir.Model, settings: Int8, *, keep: Collection[str] = ()) -> dict[str, int]:
    """Put fused float32 `model` in dynamic INT8 form, in place; returns counts of what was made.

    Linear layers named in `keep` stay float32, and so does the attention that one of them feeds: its other projections are
    quantized each by itself.
    """
    graph = model.graph
    counts = {"attention": _attentions(graph, settings, keep), "matmul": 0, "embedding": 0}
    RemoveUnusedNodesPass()(model)  # the projections that the attentions took over
    for linear in linear_nodes(graph):
        if linear.name not in keep:
            _matmul(graph, linear, settings)
            counts["matmul"] += 1
    counts["embedding"] = quantize_embeddings(graph, settings.embeddings)
    keep_float(model, keep)
    return counts


def _integers(weight: np.ndarray, settings: Int8) -> Integers:
    return quantize_weight(
        weight,
        per_channel=settings.per_channel,
        reduce_range=settings.reduce_range,
        signed=settings.weights == "int8",
    )


def _matmul(graph: ir.Graph, linear: LinearNode, settings: Int8) -> None:
    node = linear.node
    integers = _integers(linear.weight, settings)
    name = node.name or node.outputs[0].name
    inputs = [node.inputs[0], *_stored(graph, f"{name}.weight", integers)]
    old, bias = [node], linear.bias
    add = bias_add(node)
    if bias is None and add is not None:
        old, bias = [node, add[0]], add[1]
    if bias is not None:
        inputs.append(add_initializer(graph, f"{name}.bias", bias.astype(np.float32)))
    new = ir.node("DynamicQuantizeMatMul", inputs, domain=MICROSOFT, name=f"{name}.int8")
    replace(graph, old, [new], new.outputs[0])


def _stored(graph: ir.Graph, name: str, integers: Integers) -> list[ir.Value]:
    """Values, scale and zero point as the three initializers every integer operator takes."""
    return [
        add_initializer(graph, name, integers.values),
        add_initializer(graph, f"{name}.scale", integers.scale),
        add_initializer(graph, f"{name}.zero", integers.zero),
    ]


def _attentions(graph: ir.Graph, settings: Int8, keep: Collection[str]) -> int:
    """Replace MultiHeadAttention over three projections of one input by QAttention; returns how many."""
    found = {id(linear.node): linear for linear in linear_nodes(graph) if linear.name not in keep}
    count = 0
    for node in list(graph):
        if node.op_type != "MultiHeadAttention":
            continue
        parts = [_projection(value, found) for value in node.inputs[:3]]
        extra = [value for value in node.inputs[3:] if value is not None and value is not node.inputs[4]]
        if extra or any(part is None for part in parts) or len({id(part[0].node.inputs[0]) for part in parts if part}) != 1:
            continue
        projections = [part for part in parts if part is not None]
        if len({part[0].weight.shape for part in projections}) != 1:
            continue
        options = attributes(node)
        columns = projections[0][0].weight.shape[1]
        scale = options.get("scale", 0.0)
        if scale and not np.isclose(scale, (columns / options["num_heads"]) ** -0.5):
            continue
        bias = np.concatenate([part[1] for part in projections])
        integers = _side_by_side([_integers(part[0].weight, settings) for part in projections])
        name = node.name or node.outputs[0].name
        shown = ir.node("DynamicQuantizeLinear", [projections[0][0].node.inputs[0]], num_outputs=3, name=f"{name}.input")
        values, weight_scale, weight_zero = _stored(graph, f"{name}.qkv", integers)
        mask = node.inputs[4] if len(node.inputs) > 4 else None
        attention = ir.node(
            "QAttention",
            [
                shown.outputs[0], values, add_initializer(graph, f"{name}.qkv.bias", bias.astype(np.float32)),
                shown.outputs[1], weight_scale, mask, shown.outputs[2], weight_zero,
            ],
            {"num_heads": options["num_heads"]},
            domain=MICROSOFT,
            name=f"{name}.int8",
        )  # fmt: skip
        replace(graph, [node], [shown, attention], attention.outputs[0])
        count += 1
    return count


def _side_by_side(parts: list[Integers]) -> Integers:
    """One weight of several, each with its own scales: a scale for each column even where each part has a single one."""
    scales, zeros = (
        [np.broadcast_to(ends, part.values.shape[1:]) for part, ends in zip(parts, column, strict=True)]
        for column in ([part.scale for part in parts], [part.zero for part in parts])
    )
    return Integers(np.concatenate([part.values for part in parts], axis=1), np.concatenate(scales), np.concatenate(zeros))


def _projection(value: ir.Value | None, found: dict[int, LinearNode]) -> tuple[LinearNode, np.ndarray] | None:
    """The linear layer and bias that make `value`; None where it is made otherwise."""
    node = value.producer() if value is not None else None
    if node is None:
        return None
    if node.op_type == "Add":
        pairs = [(item.producer(), array_of(other)) for item, other in (node.inputs, node.inputs[::-1])]
        for producer, bias in pairs:
            if bias is not None and producer is not None and id(producer) in found:
                return found[id(producer)], bias
        return None
    linear = found.get(id(node))
    return None if linear is None else (linear, np.zeros(linear.weight.shape[1], dtype=np.float32))
