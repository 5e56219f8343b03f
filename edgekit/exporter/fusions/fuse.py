"""Fewer, larger operators: ONNX Runtime's own fused forms, found by the shapes in the graph and not by a configured head count.

At batch 1 and ten tokens an encoder spends about as long in small operators as in arithmetic. onnxscript's
`optimize_for_ort` finds attention, skip-normalisation and bias-GELU; the passes here then remove what it leaves: the
expanded copy of the mask in each layer, the token-type lookup that is always row 0, the position lookup that counts up by
one, the arithmetic of relative positions (MPNet, DeBERTa) and rotations (ModernBERT), whose tables are known beforehand, and
products of constants. Heads are read off each layer's own reshape, so layers pruned to different head counts fuse rightly. A pass
that does not find its exact shape leaves the graph alone; parity with eager PyTorch is checked afterwards.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, RemoveUnusedOpsetsPass
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter.ort_fusions import optimize_for_ort

from edgekit.exporter.fusions.attention import biased_attention, mask_as_key_padding, rotary_attention
from edgekit.exporter.fusions.positions import fold_token_types, look_up_distances, slice_positions
from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.match import producer_of, same_shape
from edgekit.onnx_graph.metadata import drop_metadata
from edgekit.onnx_graph.operators import MICROSOFT

__all__ = ["fuse"]

FOLDED = 2**24
"""Largest constant, in numbers, that folding may read or make: a position projection of DeBERTa-v2-xxlarge has 512 x 1536."""


def fuse(source: Path, out: Path, max_length: int) -> dict[str, int]:
    """Write the fused form of ONNX model `source` to `out`; returns how often each operator stands in it.

    Position tables are cut to `max_length` rows, the longest input the bundle accepts.
    """
    model = ir.load(source)
    _fold_products(model)
    model, _ = optimize_for_ort(model, clear_metadata=True)
    for step in (
        biased_attention, rotary_attention, mask_as_key_padding, fold_token_types, slice_positions, _skip_normalisations,
        look_up_distances,
    ):  # fmt: skip
        step(model.graph, max_length)
        RemoveUnusedNodesPass()(model)
    model.opset_imports[MICROSOFT] = 1
    RemoveUnusedOpsetsPass()(model)
    drop_metadata(model)
    ir.save(model, out)
    return dict(sorted(Counter(node.op_type for node in model.graph).items()))


def _fold_products(model: ir.Model) -> None:
    """Compute what depends on weights alone: DeBERTa projects its normalised table of relative positions in every layer."""
    for node in list(model.graph):
        if node.op_type != "LayerNormalization" or len(node.inputs) < 3:
            continue
        values, scale, bias = (array_of(value) for value in node.inputs[:3])
        if values is None or scale is None or bias is None:
            continue
        exact = values.astype(np.float64)
        spread = np.sqrt(exact.var(axis=-1, keepdims=True) + node.attributes["epsilon"].as_float())
        normal = (exact - exact.mean(axis=-1, keepdims=True)) / spread * scale + bias
        node.outputs[0].replace_all_uses_with(add_initializer(model.graph, f"{node.name}.folded", normal.astype(np.float32)))
    RemoveUnusedNodesPass()(model)
    fold_constants(model, input_size_limit=FOLDED, output_size_limit=FOLDED)


def _skip_normalisations(graph: ir.Graph, _: int) -> None:
    """LayerNormalization(a + b) as SkipLayerNormalization, which broadcasts b over the batch and can hand on the sum.

    What is left to find here: sums with a position table, and models that normalise before a block and use the sum again.
    """
    for node in list(graph):
        add = producer_of(node.inputs[0], "Add") if node.op_type == "LayerNormalization" else None
        if add is None or any(array_of(item) is not None for item in add.inputs):
            continue
        used_again = len(add.outputs[0].uses()) > 1
        pair = sorted(add.inputs, key=lambda item: producer_of(item, "Slice") is not None)
        sliced = [producer_of(item, "Slice") is not None for item in pair] == [False, True]
        if not same_shape(*pair) and (used_again or not sliced):
            continue
        skip = ir.node(
            "SkipLayerNormalization", [*pair, *node.inputs[1:]], {"epsilon": node.attributes["epsilon"].as_float()},
            num_outputs=4 if used_again else 1, domain=MICROSOFT, name=f"{node.name}.skip",
        )  # fmt: skip
        graph.insert_before(add, skip)
        for old, new in ((node.outputs[0], skip.outputs[0]), (add.outputs[0], skip.outputs[-1])):
            new.shape, new.type = old.shape, old.type
            old.replace_all_uses_with(new)
