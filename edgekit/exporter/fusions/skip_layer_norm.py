"""Residual sums and the LayerNorm behind them as one operator."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.onnx_graph.initializers import array_of
from edgekit.onnx_graph.match import producer_of, same_shape
from edgekit.onnx_graph.operators import MICROSOFT

__all__ = ["fuse_skip_layer_norms"]


def fuse_skip_layer_norms(model: ir.Model) -> int:
    """LayerNormalization(a + b) as SkipLayerNormalization, which broadcasts b over the batch and can also return the sum.

    What onnxscript leaves to find: sums with a position table, and models that normalise before a block and use the sum again.
    """
    graph, count = model.graph, 0
    for node in list(graph):
        add = producer_of(node.inputs[0], "Add") if node.op_type == "LayerNormalization" else None
        if add is None or any(array_of(item) is not None for item in add.inputs):
            continue
        used_again = len(add.outputs[0].uses()) > 1
        terms = sorted(add.inputs, key=lambda item: producer_of(item, "Slice") is not None)
        positions_last = [producer_of(item, "Slice") is not None for item in terms] == [False, True]
        if not same_shape(*terms) and (used_again or not positions_last):
            continue
        skip = ir.node(
            "SkipLayerNormalization", [*terms, *node.inputs[1:]], {"epsilon": node.attributes["epsilon"].as_float()},
            num_outputs=4 if used_again else 1, domain=MICROSOFT, name=f"{node.name}.skip",
        )  # fmt: skip
        graph.insert_before(add, skip)
        for old, new in ((node.outputs[0], skip.outputs[0]), (add.outputs[0], skip.outputs[-1])):
            new.shape, new.type = old.shape, old.type
            old.replace_all_uses_with(new)
        count += 1
    return count
