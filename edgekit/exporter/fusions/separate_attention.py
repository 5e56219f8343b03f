"""Attention without padding, perhaps with a bias of positions, in the form that every quantizer here knows: three projections and MultiHeadAttention.

onnxscript packs the projections of a model without a padding mask, one of images, into one Attention, whose weights no quantizer of MatMuls sees.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.match import attributes, producer_of
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.onnx_graph.rewrite import replace

__all__ = ["separate_attention"]

WEIGHT, BIAS, KEY_PADDING, PAST, ADDITIVE = 1, 2, 3, 4, 5
"""Inputs of Attention."""


def separate_attention(model: ir.Model) -> int:
    """Take each Attention apart; of its mask what hides nothing is left out, and a bias stays."""
    graph, count = model.graph, 0
    for node in [item for item in graph if item.op_type == "Attention" and item.domain == MICROSOFT]:
        inputs = [*node.inputs, *[None] * (ADDITIVE + 1 - len(node.inputs))]
        options, biases = attributes(node), array_of(inputs[BIAS])
        if inputs[0] is None or biases is None or inputs[KEY_PADDING] is not None or inputs[PAST] is not None:
            continue
        weights, sizes = (
            _weights(inputs[WEIGHT], len(biases) // 3),
            [int(size) for size in options.get("qkv_hidden_sizes", [len(biases) // 3] * 3)],
        )
        if weights is None or sizes != [weight.shape[1] for weight, _ in weights]:
            continue
        additive = _added(inputs[ADDITIVE])
        name, new = str(node.name or node.outputs[0].name), []
        parts: list[ir.Value | None] = []
        for (weight, called), bias in zip(weights, np.split(biases, np.cumsum(sizes)[:-1]), strict=True):
            product = ir.node("MatMul", [inputs[0], add_initializer(graph, called, weight)], name=f"{name}.{called}")
            added = ir.node(
                "Add", [product.outputs[0], add_initializer(graph, f"{called}.bias", bias)], name=f"{name}.{called}.bias"
            )
            for value in (product.outputs[0], added.outputs[0]):
                value.type, value.shape = node.outputs[0].type, ir.Shape([*list(inputs[0].shape or [])[:-1], weight.shape[1]])
            new += [product, added]
            parts.append(added.outputs[0])
        kept = {key: options[key] for key in ("num_heads", "scale") if options.get(key)}
        if additive is not None:
            parts += [None, None, additive]
        new.append(ir.node("MultiHeadAttention", parts, kept, domain=MICROSOFT, name=name))
        replace(graph, [node], new, new[-1].outputs[0])
        count += 1
    return count


def _weights(value: ir.Value | None, size: int) -> list[tuple[np.ndarray, str]] | None:
    """The weights of queries, keys and values, (in, `size`) each, with their names: a Concat puts them side by side, or they are one constant."""
    whole, joined = array_of(value), producer_of(value, "Concat")
    if whole is not None and value is not None:
        return [
            (part, f"{value.name}.{name}")
            for part, name in zip(np.split(whole, 3, axis=1), ("query", "key", "value"), strict=True)
        ]
    if joined is None or len(joined.inputs) != 3:
        return None
    found = [(array_of(one), str(one.name)) for one in joined.inputs if one is not None]
    sound = [(weight, name) for weight, name in found if weight is not None and weight.ndim == 2]
    return sound if len(sound) == 3 and all(weight.shape[1] == size for weight, _ in sound) else None


def _added(mask: ir.Value | None) -> ir.Value | None:
    """What an additive mask adds, (1 or b, 1 or heads, s, s); None for nothing. Of a sum with a mask that hides nothing the other part."""
    if _hides_nothing(mask):
        return None
    total = producer_of(mask, "Add")
    if total is not None:
        for one, other in (total.inputs, reversed(total.inputs)):
            if _hides_nothing(one):
                return other
    return mask


def _hides_nothing(mask: ir.Value | None) -> bool:
    """Whether an additive mask is 0 everywhere: none, or one that a condition makes which always holds."""
    if mask is None:
        return True
    where = producer_of(mask, "Where")
    if where is None:
        return False
    expanded = producer_of(where.inputs[0], "Expand")
    holds, zero = array_of(where.inputs[0] if expanded is None else expanded.inputs[0]), array_of(where.inputs[1])
    return holds is not None and bool(holds.all()) and zero is not None and not zero.any()
