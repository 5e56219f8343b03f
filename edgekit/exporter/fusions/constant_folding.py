"""What depends on weights alone, computed beforehand: DeBERTa projects its normalised table of relative positions in every layer."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxscript import optimizer

from edgekit.onnx_graph.initializers import add_initializer, array_of

__all__ = ["drop_empty_pads", "fold_constant_norms", "fold_constants"]

LARGEST = 2**24
"""Numbers of a constant that folding may read or make: a position projection of DeBERTa-v2-xxlarge has 512 x 1536."""


def fold_constant_norms(model: ir.Model) -> int:
    """Replace LayerNormalization of a constant by its result, computed in float64, which onnxscript does not fold."""
    count = 0
    for node in list(model.graph):
        if node.op_type != "LayerNormalization" or len(node.inputs) < 3:
            continue
        values, scale, bias = (array_of(value) for value in node.inputs[:3])
        if values is None or scale is None or bias is None:
            continue
        exact = values.astype(np.float64)
        deviation = np.sqrt(exact.var(axis=-1, keepdims=True) + node.attributes["epsilon"].as_float())
        normalised = (exact - exact.mean(axis=-1, keepdims=True)) / deviation * scale + bias
        folded = add_initializer(model.graph, f"{node.name}.folded", normalised.astype(np.float32))
        node.outputs[0].replace_all_uses_with(folded)
        count += 1
    return count


def drop_empty_pads(model: ir.Model) -> int:
    """Remove each Pad whose amounts are constants of 0, as Swin has where its windows divide the image."""
    count = 0
    for node in [item for item in model.graph if item.op_type == "Pad" and len(item.inputs) > 1]:
        amounts, padded = array_of(node.inputs[1]), node.inputs[0]
        if amounts is None or amounts.any() or padded is None:
            continue
        node.outputs[0].replace_all_uses_with(padded)
        model.graph.remove(node, safe=True)
        count += 1
    return count


def fold_constants(model: ir.Model) -> int:
    """Replace every other operator whose inputs are constants by its result."""
    return int(optimizer.fold_constants(model, input_size_limit=LARGEST, output_size_limit=LARGEST).modified)
