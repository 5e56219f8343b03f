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

from edgekit.quantize.embedding import quantize_embeddings
from edgekit.quantize.graph import MICROSOFT, Product, bias_add, constant, keep_float, packed, products, replace, save
from edgekit.target import Quantize

__all__ = ["Blocks", "quantize_blocks", "quantize_weights_only"]

SHARES = np.linspace(0.6, 1.0, 41)
"""Clipping candidates: shares of a block's largest magnitude. The smallest that was ever best was 0.63, of 4,000 random blocks
each of normal, Laplace and Student-t (4) numbers, 32 to 128 wide; the squared error fell by 18-26% in 4 bits, 2-4% in 8."""


@dataclass(frozen=True)
class Blocks:
    """A weight (in, out) by blocks of its columns: `values` int8 (out, blocks, block), `scale` float32 (out, blocks)."""

    values: np.ndarray
    scale: np.ndarray
    rows: int
    """in: the last block of a column is filled up with zeros."""

    def restored(self) -> np.ndarray:
        """The float32 weight (in, out) these integers stand for."""
        whole = self.values.astype(np.float32) * self.scale[:, :, None]
        return np.ascontiguousarray(whole.reshape(len(whole), -1)[:, : self.rows].T)


def quantize_blocks(weight: np.ndarray, bits: int, block: int) -> Blocks:
    """Round float32 `weight` (in, out) to `bits` (4 or 8), each block with the clipping of least squared error."""
    rows, columns = weight.shape
    count = -(-rows // block)
    padded = np.zeros((columns, count * block))
    padded[:, :rows] = weight.T
    blocks = padded.reshape(columns, count, block)
    limit = 2 ** (bits - 1) - 1
    whole = np.maximum(np.abs(blocks).max(axis=2), 1e-12) / limit
    best, scale = np.full(whole.shape, np.inf), whole
    for share in SHARES[::-1]:
        tried = (whole * share).astype(np.float32).astype(np.float64)
        error = ((_rounded(blocks, tried, limit) * tried[:, :, None] - blocks) ** 2).sum(axis=2)
        scale = np.where(error < best, tried, scale)
        best = np.minimum(error, best)
    return Blocks(_rounded(blocks, scale, limit).astype(np.int8), scale.astype(np.float32), rows)


def _rounded(blocks: np.ndarray, scale: np.ndarray, limit: int) -> np.ndarray:
    return np.asarray(np.clip(np.rint(blocks / scale[:, :, None]), -limit - 1, limit))


def quantize_weights_only(source: Path, out: Path, settings: Quantize, *, keep: Collection[str] = ()) -> dict[str, int]:
    """Write the weight-only form of fused float32 model `source`; products named in `keep` stay float32. Returns counts."""
    bits = settings.bits
    model = ir.load(source)
    graph = model.graph
    found = [product for product in products(graph) if product.name not in keep]
    for product in found:
        _matmul(graph, product, bits, settings.block)
    embeddings = (
        0 if settings.embeddings == "float32" else quantize_embeddings(graph, 4 if settings.embeddings == "int4" else 8)
    )
    keep_float(model, keep)
    save(model, out, microsoft=True)
    return {"matmul": len(found), "embedding": embeddings}


def _matmul(graph: ir.Graph, product: Product, bits: int, block: int) -> None:
    node, name = product.node, product.name
    blocks = quantize_blocks(product.weight, bits, block)
    old, bias = [node], product.bias
    add = bias_add(node) if bias is None else None
    if add is not None:
        old, bias = [node, add[0]], add[1]
    inputs = [
        node.inputs[0],
        constant(graph, f"{name}.weight", packed(blocks.values, bits)),
        constant(graph, f"{name}.weight.scale", blocks.scale),
    ]
    if bias is not None:
        inputs += [None, None, constant(graph, f"{name}.bias", bias.astype(np.float32))]
    rows, columns = product.weight.shape
    options = {"K": rows, "N": columns, "bits": bits, "block_size": block, "accuracy_level": 4}
    new = ir.node("MatMulNBits", inputs, options, domain=MICROSOFT, name=f"{name}.int{bits}")
    replace(graph, old, [new], new.outputs[0])
