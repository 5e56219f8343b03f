"""Weights alone in 8 or 4 bits, a scale for each block of a column: `MatMulNBits` restores them as it multiplies.

The kernel (contrib_ops/cpu/quantization/matmul_nbits.cc) takes float32 activations and gives float32 back. At `accuracy_level`
4 it rounds each activation block to 8 bits inside; that is what makes it fast on a CPU, and it shows: on random inputs its
output is off by 0.3 to 0.7% of the largest, and at level 0 by the rounding of float32 alone (ONNX Runtime 1.32).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from edgekit.config.quantize import WeightOnly
from edgekit.onnx_graph.initializers import add_initializer
from edgekit.onnx_graph.linear import LinearNode, bias_add, linear_nodes
from edgekit.onnx_graph.metadata import keep_float
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.onnx_graph.rewrite import replace
from edgekit.quantize.blocks import Blocks, quantize_blocks
from edgekit.quantize.embedding import quantize_embeddings
from edgekit.quantize.weights import packed

__all__ = ["block_matmul", "quantize_weights_only"]


def quantize_weights_only(model: ir.Model, settings: WeightOnly, *, keep: Collection[str] = ()) -> dict[str, int]:
    """Put the linear layers of fused float32 `model` in weight-only form, in place; those named in `keep` stay float32.

    Returns counts of what was made.
    """
    graph = model.graph
    linears = [linear for linear in linear_nodes(graph) if linear.name not in keep]
    for linear in linears:
        _matmul(graph, linear, settings)
    embeddings = quantize_embeddings(graph, settings.embeddings)
    keep_float(model, keep)
    return {"matmul": len(linears), "embedding": embeddings}


def _matmul(graph: ir.Graph, linear: LinearNode, settings: WeightOnly) -> None:
    node, bias = linear.node, linear.bias
    add = bias_add(node) if bias is None else None
    old = [node] if add is None else [node, add[0]]
    blocks = quantize_blocks(linear.weight, settings.bits, settings.block)
    block_matmul(graph, old, linear.name, blocks, settings, bias if add is None else add[1])


def block_matmul(
    graph: ir.Graph, old: list[ir.Node], name: str, blocks: Blocks, settings: WeightOnly, bias: np.ndarray | None
) -> None:
    """Put one MatMulNBits, which adds `bias` (out,) too, in the place of linear layer `name`, whose nodes are `old`."""
    bits = settings.bits
    columns, count, block = blocks.values.shape
    inputs = [
        old[0].inputs[0],
        add_initializer(graph, f"{name}.weight", packed(blocks.values, bits)),
        add_initializer(graph, f"{name}.weight.scale", blocks.scale),
    ]
    if blocks.zero is not None:
        even = np.pad(blocks.zero, ((0, 0), (0, count % 2 if bits == 4 else 0)))
        inputs.append(add_initializer(graph, f"{name}.weight.zero", packed(even, bits)))
    if bias is not None:
        inputs += [None] * (5 - len(inputs))
        inputs.append(add_initializer(graph, f"{name}.bias", bias.astype(np.float32)))
    options = {"K": blocks.rows, "N": columns, "bits": bits, "block_size": block, "accuracy_level": settings.accuracy_level}
    new = ir.node("MatMulNBits", inputs, options, domain=MICROSOFT, name=f"{name}.int{bits}")
    replace(graph, old, [new], new.outputs[0])
