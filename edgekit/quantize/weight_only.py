"""Weights alone in 8 or 4 bits, a scale for each block of a column: `MatMulNBits` restores them as it multiplies.

The kernel (contrib_ops/cpu/quantization/matmul_nbits.cc) takes float32 activations and gives float32 back. At `accuracy_level`
4 it rounds each activation block to 8 bits inside; that is what makes it fast on a CPU, and it shows: on random inputs its
output is off by 0.3 to 0.7% of the largest, and at level 0 by the rounding of float32 alone (ONNX Runtime 1.32).

Rounding is to nearest and symmetric. The scale of each block is the one of 41 clipping candidates with the smallest squared
error, as in the weight search of OMSE (Choukroun et al. 2019, arXiv 1902.06822): in 4 bits a block's one large weight is often
better cut than kept.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.config.quantize import WeightOnly
from edgekit.onnx_graph.initializers import add_initializer
from edgekit.onnx_graph.linear import LinearNode, bias_add, linear_nodes
from edgekit.onnx_graph.metadata import keep_float
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.onnx_graph.rewrite import replace, save
from edgekit.quantize.embedding import quantize_embeddings
from edgekit.quantize.weights import packed

__all__ = ["Blocks", "best_scale", "block_product", "in_blocks", "quantize_blocks", "quantize_weights_only", "rounded"]

SHARES = np.linspace(0.6, 1.0, 41)
"""Clipping candidates: shares of a block's largest magnitude. The smallest that was ever best was 0.63, of 4,000 random blocks
each of normal, Laplace and Student-t (4) numbers, 32 to 128 wide; the squared error fell by 18-26% in 4 bits, 2-4% in 8."""


CHUNK = 64
"""Columns that are rounded at a time: few enough to stay in the cache."""


@dataclass(frozen=True)
class Blocks:
    """A weight (in, out) by blocks of its columns: `values` int8 (out, blocks, block), `scale` float32 (out, blocks)."""

    values: np.ndarray
    scale: np.ndarray
    rows: int
    """in: the last block of a column is filled up with zeros."""
    zero: np.ndarray | None = None
    """int8 (out, blocks): what stands for 0; None: 0 does."""

    def restored(self) -> np.ndarray:
        """The float32 weight (in, out) these integers stand for."""
        whole = self.values.astype(np.float32) - (0 if self.zero is None else self.zero[:, :, None].astype(np.float32))
        whole *= self.scale[:, :, None]
        return np.ascontiguousarray(whole.reshape(len(whole), -1)[:, : self.rows].T)


def quantize_blocks(weight: np.ndarray, bits: int, block: int) -> Blocks:
    """Round float32 `weight` (in, out) to `bits` (4 or 8), each block with the clipping of least squared error."""
    rows, columns = weight.shape
    values = np.empty((columns, -(-rows // block), block), dtype=np.int8)
    scale = np.empty(values.shape[:2], dtype=np.float32)
    for start in range(0, columns, CHUNK):
        part = slice(start, start + CHUNK)
        blocks = in_blocks(weight[:, part], block)
        scale[part] = best_scale(blocks, bits)
        values[part] = rounded(blocks, scale[part].astype(np.float64), bits)
    return Blocks(values, scale, rows)


def in_blocks(weight: np.ndarray, block: int) -> np.ndarray:
    """`weight` (in, out) as float64 (out, blocks, block), filled up with zeros."""
    rows, columns = weight.shape
    count = -(-rows // block)
    padded = np.zeros((columns, count * block))
    padded[:, :rows] = weight.T
    return np.asarray(padded.reshape(columns, count, block))


def best_scale(blocks: np.ndarray, bits: int) -> np.ndarray:
    """float64 (out, blocks): of the clipping candidates of each block of `blocks` (out, blocks, block) the best."""
    limit = 2 ** (bits - 1) - 1
    whole = np.maximum(np.abs(blocks).max(axis=2), 1e-12) / limit
    best, scale = np.full(whole.shape, np.inf), whole
    for share in SHARES[::-1]:
        tried = (whole * share).astype(np.float32).astype(np.float64)
        error = rounded(blocks, tried, bits)
        error *= tried[:, :, None]
        error -= blocks
        lost = np.einsum("obk,obk->ob", error, error)
        scale = np.where(lost < best, tried, scale)
        best = np.minimum(lost, best)
    return np.asarray(scale)


def rounded(blocks: np.ndarray, scale: np.ndarray, bits: int) -> np.ndarray:
    """`blocks` (out, blocks, block) in whole numbers of `scale` (out, blocks), float64."""
    found = blocks / scale[:, :, None]
    np.rint(found, out=found)
    limit = 2 ** (bits - 1) - 1
    return np.asarray(np.clip(found, -limit - 1, limit, out=found))


def quantize_weights_only(source: Path, out: Path, settings: WeightOnly, *, keep: Collection[str] = ()) -> dict[str, int]:
    """Write the weight-only form of fused float32 model `source`; products named in `keep` stay float32. Returns counts."""
    model = ir.load(source)
    graph = model.graph
    found = [linear for linear in linear_nodes(graph) if linear.name not in keep]
    for linear in found:
        _matmul(graph, linear, settings)
    embeddings = (
        0 if settings.embeddings == "float32" else quantize_embeddings(graph, 4 if settings.embeddings == "int4" else 8)
    )
    keep_float(model, keep)
    save(model, out, microsoft=True)
    return {"matmul": len(found), "embedding": embeddings}


def _matmul(graph: ir.Graph, linear: LinearNode, settings: WeightOnly) -> None:
    node, bias = linear.node, linear.bias
    add = bias_add(node) if bias is None else None
    old = [node] if add is None else [node, add[0]]
    blocks = quantize_blocks(linear.weight, settings.bits, settings.block)
    block_product(graph, old, linear.name, blocks, settings, bias if add is None else add[1])


def block_product(
    graph: ir.Graph, old: list[ir.Node], name: str, blocks: Blocks, settings: WeightOnly, bias: np.ndarray | None
) -> None:
    """Put one MatMulNBits, which adds `bias` (out,) too, in the place of product `name`, whose nodes are `old`."""
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
