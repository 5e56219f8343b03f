"""Weights alone in 8 or 4 bits, a scale for each block of a column: `MatMulNBits` restores them as it multiplies.

The kernel (contrib_ops/cpu/quantization/matmul_nbits.cc) takes float32 activations and gives float32 back. At `accuracy_level`
4 it rounds each activation block to 8 bits inside; that is what makes it fast on a CPU, and it shows: on random inputs its
output is off by 0.3 to 0.7% of the largest, and at level 0 by the rounding of float32 alone (ONNX Runtime 1.32).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

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

__all__ = ["BlockWeight", "block_matmul", "block_weight", "quantize_weights_only"]


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
    weight = block_weight(graph, linear.name, quantize_blocks(linear.weight, settings.bits, settings.block), settings.bits)
    block_matmul(graph, old, linear.name, weight, settings.accuracy_level, bias if add is None else add[1])


@dataclass(frozen=True)
class BlockWeight:
    """A weight (in, out) by blocks of its columns, as MatMulNBits reads it."""

    values: ir.Value
    """uint8 (out, blocks, block * bits / 8)."""
    scale: ir.Value
    """float32 (out, blocks)."""
    zero: ir.Value | None
    bits: int
    block: int
    rows: int
    columns: int


def block_weight(graph: ir.Graph, name: str, blocks: Blocks, bits: int) -> BlockWeight:
    """Initializers of `graph` that hold `blocks`, called after the layer or table `name`."""
    columns, count, block = blocks.values.shape
    zero = None
    if blocks.zero is not None:
        even = np.pad(blocks.zero, ((0, 0), (0, count % 2 if bits == 4 else 0)))
        zero = add_initializer(graph, f"{name}.weight.zero", packed(even, bits))
    values = add_initializer(graph, f"{name}.weight", packed(blocks.values, bits))
    scale = add_initializer(graph, f"{name}.weight.scale", blocks.scale)
    return BlockWeight(values, scale, zero, bits, block, blocks.rows, columns)


def block_matmul(
    graph: ir.Graph, old: list[ir.Node], name: str, weight: BlockWeight, accuracy_level: int, bias: np.ndarray | None
) -> None:
    """Put one MatMulNBits, which adds `bias` (out,) too, in the place of linear layer `name`, whose nodes are `old`."""
    inputs = [old[0].inputs[0], weight.values, weight.scale]
    if weight.zero is not None:
        inputs.append(weight.zero)
    if bias is not None:
        inputs += [None] * (5 - len(inputs))
        inputs.append(add_initializer(graph, f"{name}.bias", bias.astype(np.float32)))
    options = {
        "K": weight.rows, "N": weight.columns, "bits": weight.bits, "block_size": weight.block, "accuracy_level": accuracy_level,
    }  # fmt: skip
    new = ir.node("MatMulNBits", inputs, options, domain=MICROSOFT, name=f"{name}.int{weight.bits}")
    replace(graph, old, [new], new.outputs[0])
