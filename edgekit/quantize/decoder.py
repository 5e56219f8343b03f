"""A decoder's weights in 4 or 8 bits: every MatMul with a constant weight, the head included, and the embedding.

The float32 file is mapped, not read, and one weight is rounded at a time. A head that is the embedding transposed becomes a
MatMul with a weight of its own, so the file holds the table twice, in the bits of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgekit.config.quantize import WeightOnly
from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.linear import LinearNode, bias_add, linear_nodes
from edgekit.onnx_graph.rewrite import replace
from edgekit.progress import Progress, silent
from edgekit.quantize.blocks import Blocks, quantize_blocks
from edgekit.quantize.embedding import quantize_embeddings
from edgekit.quantize.gptq import gptq
from edgekit.quantize.hqq import hqq
from edgekit.quantize.kv_cache import quantize_cache
from edgekit.quantize.weight_only import block_matmul
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA

__all__ = ["quantize_decoder"]

Hessians = Callable[[str], np.ndarray]
"""The input of a linear layer, by the name of its value -> the sum of x x' over calibration tokens, float64 (in, in)."""


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
    linears = linear_nodes(graph)
    for number, linear in enumerate(linears):
        progress(number, len(linears), f"quantize: {linear.name}")
        blocks = _round(linear, settings, hessians)
        add = bias_add(linear.node)
        old = [linear.node] if add is None else [linear.node, add[0]]
        block_matmul(graph, old, linear.name, blocks, settings, None if add is None else add[1])
    embeddings = quantize_embeddings(graph, settings.embeddings)
    layers = 0
    if settings.cache == "int8":
        assert cache is not None, "a cache in int8 is given its ranges"
        layers = quantize_cache(graph, cache)
    RemoveUnusedNodesPass()(model)
    ir.save(model, out / MODEL, external_data=MODEL_DATA, size_threshold_bytes=4096)
    return {"matmul": len(linears), "embedding": embeddings, "cache": layers}


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
            turned = add_initializer(graph, f"{node.name}.weight", table.T)
            new = ir.node("MatMul", [node.inputs[0], turned], name=node.name)
            replace(graph, [node], [new], new.outputs[0])
