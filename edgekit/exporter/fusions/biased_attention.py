"""Attention with a bias of relative positions, as MPNet has it, as one operator."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.exporter.fusions.padding_mask import comes_from_mask, key_padding
from edgekit.onnx_graph.match import producer_of, sole_reader, upstream
from edgekit.onnx_graph.operators import MICROSOFT

__all__ = ["fuse_biased_attention"]


def fuse_biased_attention(model: ir.Model) -> int:
    """softmax(alpha Q K' + bias + mask) V with a padding mask as MultiHeadAttention with an attention bias."""
    graph, count = model.graph, 0
    for node in list(graph):
        masked = producer_of(node.inputs[0], "Add") if node.op_type == "Softmax" else None
        biased = producer_of(masked.inputs[0], "Add") if masked is not None else None
        scores = producer_of(biased.inputs[0], "FusedMatMul") if biased is not None else None
        weighted = sole_reader(node, "MatMul")
        merged = sole_reader(sole_reader(weighted, "Transpose"), "Reshape")
        if masked is None or biased is None or scores is None or weighted is None or merged is None:
            continue
        query = scores.inputs[0]
        qkv = [upstream(value, "Transpose", "Reshape") for value in (*scores.inputs, weighted.inputs[1])]
        heads = query.shape[1] if query is not None and query.shape is not None else None
        mask, bias = masked.inputs[1], biased.inputs[1]
        if not isinstance(heads, int) or None in qkv or not comes_from_mask(graph, mask):
            continue
        expand = producer_of(bias, "Expand")  # over the batch, which the operator does by itself
        own_planes = producer_of(bias, "Gather")
        if expand is not None:
            bias = expand.inputs[0]
        elif own_planes is not None and (expand := producer_of(own_planes.inputs[0], "Expand")) is not None:
            own_planes.replace_input_with(0, expand.inputs[0])
        attention = ir.node(
            "MultiHeadAttention",
            [*qkv, None, key_padding(graph), bias],
            {"num_heads": heads, "scale": scores.attributes["alpha"].as_float()},
            domain=MICROSOFT,
            name=f"{node.name}.attention",
        )
        graph.insert_before(node, attention)
        merged.outputs[0].replace_all_uses_with(attention.outputs[0])
        count += 1
    return count
