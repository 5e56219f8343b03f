"""A decoder's weights in 4 or 8 bits: every product with a constant weight, the head included, and the embedding.

The float32 file is mapped, not read, and one weight is rounded at a time. A head that is the embedding transposed becomes a
product of its own, so the file holds the table twice, in the widths of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgekit.config.quantize import WeightOnly
from edgekit.onnx_graph.initializers import array_of
from edgekit.onnx_graph.linear import LinearNode, bias_add, linear_nodes
from edgekit.progress import Progress, silent
from edgekit.quantize.cache import quantize_cache
from edgekit.quantize.embedding import quantize_embeddings
from edgekit.quantize.rounding import gptq, hqq
from edgekit.quantize.weight_only import Blocks, block_product, quantize_blocks
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA

__all__ = ["quantize_decoder"]

Hessians = Callable[[str], np.ndarray]
"""The input of a product, by the name of its value -> the sum of x x' over calibration tokens, float64 (in, in)."""


def quantize_decoder(
    source: Path,
    out: Path,
    settings: WeightOnly,
    *,
    hessians: Hessians | None = None,
    cache: Mapping[str, np.ndarray] | None = None,
    progress: Progress = silent,
) -> dict[str, int]:
    """Write the weight-only form of the decoder in folder `source` to folder `out`; returns counts of what was changed.

    `cache`: the ranges of keys and values, for a cache in int8.
    """
    model = ir.load(source / MODEL)
    graph = model.graph
    _untie(graph)
    found = linear_nodes(graph)
    for number, linear in enumerate(found):
        progress(number, len(found), f"quantize: {linear.name}")
        blocks = _round(linear, settings, hessians)
        add = bias_add(linear.node)
        old = [linear.node] if add is None else [linear.node, add[0]]
        block_product(graph, old, linear.name, blocks, settings, None if add is None else add[1])
    wide = {"float32": 0, "int8": 8, "int4": 4}[settings.embeddings]
    embeddings = quantize_embeddings(graph, wide) if wide else 0
    layers = 0
    if settings.cache == "int8":
        assert cache is not None, "a cache in int8 is given its ranges"
        layers = quantize_cache(graph, cache)
    RemoveUnusedNodesPass()(model)
    ir.save(model, out / MODEL, external_data=MODEL_DATA, size_threshold_bytes=4096)
    return {"matmul": len(found), "embedding": embeddings, "cache": layers}


def _round(linear: LinearNode, settings: WeightOnly, hessians: Hessians | None) -> Blocks:
    if settings.rounding == "gptq":
        assert hessians is not None, "gptq is given calibration rows"
        return gptq(linear.weight, settings.bits, settings.block, hessians(str(linear.node.inputs[0].name)))
    rounding = hqq if settings.rounding == "hqq" else quantize_blocks
    return rounding(linear.weight, settings.bits, settings.block)


def _untie(graph: ir.Graph) -> None:
    """x times the embedding, transposed, as a MatMul with a weight of its own."""
    for node in list(graph):
        if node.op_type == "FusedMatMul" and (table := array_of(node.inputs[1])) is not None:
            turned = ir.Value(
                name=f"{node.name}.weight",
                shape=ir.Shape(table.shape[::-1]),
                const_value=ir.tensor(table.T, name=f"{node.name}.weight"),
            )
            turned.dtype = ir.DataType.FLOAT
            graph.initializers[f"{node.name}.weight"] = turned
            new = ir.node("MatMul", [node.inputs[0], turned], name=node.name)
            graph.insert_before(node, new)
            new.outputs[0].type, new.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
            if node.outputs[0].is_graph_output():
                new.outputs[0].name, node.outputs[0].name = node.outputs[0].name, f"{node.name}.tied"
            ir.convenience.replace_all_uses_with(node.outputs[0], new.outputs[0], replace_graph_outputs=True)
            graph.remove(node, safe=True)
