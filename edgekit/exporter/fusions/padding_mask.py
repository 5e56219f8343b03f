"""The padding mask as MultiHeadAttention takes it: int32 of 0 and 1, made once, instead of an additive one for each layer."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.onnx_graph.match import producer_of, same_shape

__all__ = ["comes_from_mask", "key_padding", "mask_as_key_padding"]

ADDITIVE, KEY_PADDING = 5, 4
"""Inputs of MultiHeadAttention."""


def mask_as_key_padding(model: ir.Model) -> int:
    """Give MultiHeadAttention the mask of 0 and 1 (input 4) instead of an expanded additive one (input 5).

    Only where the additive mask comes from nothing but `attention_mask`; others lose an expansion to their own shape.
    """
    graph, count = model.graph, 0
    for node in [item for item in graph if item.op_type == "MultiHeadAttention" and len(item.inputs) > ADDITIVE]:
        mask = node.inputs[ADDITIVE]
        expand = producer_of(mask, "Expand")
        if comes_from_mask(graph, mask):
            node.replace_input_with(ADDITIVE, None)
            node.replace_input_with(KEY_PADDING, key_padding(graph))
        elif expand is not None and same_shape(expand.inputs[0], expand.outputs[0]):
            node.replace_input_with(ADDITIVE, expand.inputs[0])
        else:
            continue
        count += 1
    return count


def key_padding(graph: ir.Graph) -> ir.Value:
    """`attention_mask` as int32 (b, s), cast once for all layers."""
    cast = next((node for node in graph if node.name == "key_padding"), None)
    if cast is None:
        cast = ir.node("Cast", [_attention_mask(graph)], {"to": ir.DataType.INT32}, name="key_padding")
        graph.insert_before(graph[0], cast)
    return cast.outputs[0]


def comes_from_mask(graph: ir.Graph, value: ir.Value | None) -> bool:
    """Whether `value` is the input `attention_mask` after Unsqueeze, Cast, 1 - x, scaling and Expand alone."""
    mask = _attention_mask(graph)
    while value is not None and value is not mask:
        node = value.producer()
        if node is None or node.op_type not in {"Expand", "Mul", "Sub", "Cast", "Unsqueeze"}:
            return False
        variable = [item for item in node.inputs if item is not None and item.const_value is None]
        value = variable[0] if node.op_type in {"Mul", "Sub"} and len(variable) == 1 else node.inputs[0]
    return value is not None


def _attention_mask(graph: ir.Graph) -> ir.Value | None:
    return next((value for value in graph.inputs if value.name == "attention_mask"), None)
