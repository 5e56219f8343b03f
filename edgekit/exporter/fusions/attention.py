"""Attention as one operator: with a padding mask, with a bias of positions (MPNet), with rotated queries and keys (ModernBERT)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.match import producer_of, same_shape, sole_reader, upstream
from edgekit.onnx_graph.operators import MICROSOFT

__all__ = ["biased_attention", "mask_as_key_padding", "rotary_attention"]


def biased_attention(graph: ir.Graph, _: int) -> None:
    """softmax(alpha Q K' + bias + mask) V with a padding mask as MultiHeadAttention with an attention bias (MPNet)."""
    for node in list(graph):
        outer = producer_of(node.inputs[0], "Add") if node.op_type == "Softmax" else None
        inner = producer_of(outer.inputs[0], "Add") if outer is not None else None
        scores = producer_of(inner.inputs[0], "FusedMatMul") if inner is not None else None
        mixed = sole_reader(node, "MatMul")
        out = sole_reader(sole_reader(mixed, "Transpose"), "Reshape")
        if outer is None or inner is None or scores is None or mixed is None or out is None:
            continue
        query = scores.inputs[0]
        parts = [upstream(value, "Transpose", "Reshape") for value in (*scores.inputs, mixed.inputs[1])]
        heads = query.shape[1] if query is not None and query.shape is not None else None
        mask, bias = outer.inputs[1], inner.inputs[1]
        if not isinstance(heads, int) or None in parts or not _comes_from(mask, _raw_mask(graph)):
            continue
        expand = producer_of(bias, "Expand")  # over the batch, which the operator does by itself
        chosen = producer_of(bias, "Gather")
        if expand is not None:
            bias = expand.inputs[0]
        elif chosen is not None and (expand := producer_of(chosen.inputs[0], "Expand")) is not None:
            chosen.replace_input_with(0, expand.inputs[0])
        attention = ir.node(
            "MultiHeadAttention",
            [*parts, None, _key_padding(graph), bias],
            {"num_heads": heads, "scale": scores.attributes["alpha"].as_float()},
            domain=MICROSOFT,
            name=f"{node.name}.attention",
        )
        graph.insert_before(node, attention)
        out.outputs[0].replace_all_uses_with(attention.outputs[0])


def rotary_attention(graph: ir.Graph, max_length: int) -> None:
    """Rotations of a packed query and key as RotaryEmbedding, without transposing them to heads and back (ModernBERT).

    x * cos + concat(-x2, x1) * sin with angles position * frequency (Su et al. 2021, equation 34).
    """
    tables: dict[str | None, list[ir.Value]] = {}
    for node in [item for item in graph if item.op_type == "MultiHeadAttention"]:
        query, key = (_rotation(upstream(value, "Reshape", "Transpose")) for value in node.inputs[:2])
        frequencies = array_of(query[1]) if query is not None else None
        if query is None or key is None or query[1] is not key[1] or frequencies is None:
            continue
        thirds = [_third(upstream(query[0], "Transpose")), _third(upstream(key[0], "Transpose"))]
        thirds.append(_third(upstream(node.inputs[2], "Reshape")))
        if [index for _, index in thirds] != [0, 1, 2] or any(packed is not thirds[0][0] for packed, _ in thirds):
            continue
        name = query[1].name
        if name not in tables:
            angles = np.arange(max_length, dtype=np.float32)[:, None] * frequencies.ravel()
            tables[name] = [add_initializer(graph, f"{name}.{turn.__name__}", turn(angles)) for turn in (np.cos, np.sin)]
            tables[name].insert(0, add_initializer(graph, f"{name}.start", np.array([0])))
        split = ir.node("Split", [thirds[0][0]], {"axis": -1, "num_outputs": 3}, num_outputs=3, name=f"{node.name}.split")
        turns = [ir.node("RotaryEmbedding", [part, *tables[name]], domain=MICROSOFT) for part in split.outputs[:2]]
        graph.insert_before(node, [split, *turns])
        for index, value in enumerate((turns[0].outputs[0], turns[1].outputs[0], split.outputs[2])):
            node.replace_input_with(index, value)
        back = sole_reader(sole_reader(node, "Reshape"), "Reshape")
        if back is not None and back.outputs[0].shape is not None and len(back.outputs[0].shape) == 3:
            back.outputs[0].replace_all_uses_with(node.outputs[0])


def _rotation(value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    """(x, frequencies) where `value` is x * cos + concat(-x2, x1) * sin, by position."""
    total = producer_of(value, "Add")
    terms = [producer_of(item, "Mul") for item in total.inputs] if total is not None else []
    swapped = producer_of(terms[1].inputs[0], "Concat") if len(terms) == 2 and terms[1] is not None else None
    if swapped is None or terms[0] is None or terms[1] is None:
        return None
    halves = [upstream(swapped.inputs[0], "Neg", "Slice"), upstream(swapped.inputs[1], "Slice")]
    angles = [upstream(terms[0].inputs[1], "Unsqueeze", "Cos"), upstream(terms[1].inputs[1], "Unsqueeze", "Sin")]
    doubled = producer_of(angles[0], "Concat")
    product = producer_of(doubled.inputs[0], "Mul") if doubled is not None else None
    frequencies = product.inputs[1] if product is not None else None
    x = terms[0].inputs[0]
    if x is None or frequencies is None or halves != [x, x] or angles[1] is not angles[0]:
        return None
    return x, frequencies


def _third(value: ir.Value | None) -> tuple[ir.Value | None, int]:
    """(packed, index) where `value` is one third of `packed`, (b, s, 3 * width), seen as (b, s, 3, heads, size); else index -1."""
    cut = producer_of(upstream(value, "Squeeze"), "Slice")
    start = array_of(cut.inputs[1]) if cut is not None else None
    return (None, -1) if cut is None or start is None else (upstream(cut.inputs[0], "Reshape"), int(start.item()))


def mask_as_key_padding(graph: ir.Graph, _: int) -> None:
    """Give MultiHeadAttention the raw 0/1 mask (input 4) instead of an expanded additive one (input 5).

    Only where the additive mask comes from nothing but `attention_mask`; others lose an expansion to their own shape.
    """
    for node in [item for item in graph if item.op_type == "MultiHeadAttention" and len(item.inputs) > 5]:
        expand = producer_of(node.inputs[5], "Expand")
        if _comes_from(node.inputs[5], _raw_mask(graph)):
            node.replace_input_with(5, None)
            node.replace_input_with(4, _key_padding(graph))
        elif expand is not None and same_shape(expand.inputs[0], expand.outputs[0]):
            node.replace_input_with(5, expand.inputs[0])


def _raw_mask(graph: ir.Graph) -> ir.Value | None:
    return next((value for value in graph.inputs if value.name == "attention_mask"), None)


def _key_padding(graph: ir.Graph) -> ir.Value:
    """The mask as MultiHeadAttention takes it, int32 (b, s), made once."""
    cast = next((node for node in graph if node.name == "key_padding"), None)
    if cast is None:
        cast = ir.node("Cast", [_raw_mask(graph)], {"to": ir.DataType.INT32}, name="key_padding")
        graph.insert_before(graph[0], cast)
    return cast.outputs[0]


def _comes_from(value: ir.Value | None, origin: ir.Value | None) -> bool:
    """Whether `value` is `origin` passed through Unsqueeze, Cast, 1 - x, scaling and Expand alone."""
    while value is not None and value is not origin:
        node = value.producer()
        if node is None or node.op_type not in {"Expand", "Mul", "Sub", "Cast", "Unsqueeze"}:
            return False
        flowing = [item for item in node.inputs if item is not None and item.const_value is None]
        value = flowing[0] if node.op_type in {"Mul", "Sub"} and len(flowing) == 1 else node.inputs[0]
    return value is not None and value is origin
