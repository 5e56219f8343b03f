"""Weights in 8 or 4 bits by blocks: the numbers, and rounding to nearest with each block's best clipping ("clip").

Rounding is symmetric. The scale of each block is the one of some clipping candidates with the smallest squared error, as in the weight
search of OMSE (Choukroun et al. 2019, arXiv 1902.06822): in 4 bits a block's one large weight is often better cut than kept. There the
whole numbers go from -8 to 7, so a block's largest weight is put on -8 as well, by a scale of the other sign, as Q4_0 of llama.cpp does
always: that is one number of sixteen more. Weights that are whole numbers of a scale already keep it, and so what a training with rounding found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["CHUNK", "Blocks", "best_scale", "in_blocks", "quantize_blocks", "rounded"]

SHARES = np.linspace(0.6, 1.0, 41)
"""Clipping candidates: shares of a block's largest magnitude. The smallest that was ever best was 0.63, of 4,000 random blocks
each of normal, Laplace and Student-t (4) numbers, 32 to 128 long; the squared error fell by 18-26% in 4 bits, 2-4% in 8."""

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


def best_scale(blocks: np.ndarray, bits: int, worth: np.ndarray | None = None) -> np.ndarray:
    """float64 (out, blocks): of the candidates of each block of `blocks` (out, blocks, block) the best; negative where -8 stands for a
    largest weight above zero. `worth` (block,): what the errors are multiplied by before they are squared."""
    best, scale = np.full(blocks.shape[:2], np.inf), np.zeros(blocks.shape[:2])
    for candidate in _candidates(blocks, bits):
        tried = candidate.astype(np.float32).astype(np.float64)
        error = rounded(blocks, tried, bits)
        error *= tried[:, :, None]
        error -= blocks
        if worth is not None:
            error *= worth
        lost = np.einsum("obk,obk->ob", error, error)
        scale = np.where(lost < best, tried, scale)
        best = np.minimum(lost, best)
    return np.asarray(scale)


def _candidates(blocks: np.ndarray, bits: int) -> Iterator[np.ndarray]:
    """Scales (out, blocks) that may be the best of `blocks`; one that comes earlier is kept where two are as good."""
    limit = 2 ** (bits - 1) - 1
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
    size = np.maximum(np.abs(largest), 1e-12)
    if bits == 8:
        yield from (size / limit * share for share in SHARES[::-1])
        return
    on_last = np.where(largest > 0, -size, size) / (limit + 1)
    for share in SHARES[::-2]:
        yield from (size / limit * share, on_last * share)
    yield from (size / whole for whole in range(1, limit))


def rounded(blocks: np.ndarray, scale: np.ndarray, bits: int) -> np.ndarray:
    """`blocks` (out, blocks, block) in whole numbers of `scale` (out, blocks), float64."""
    found = blocks / scale[:, :, None]
    np.rint(found, out=found)
    limit = 2 ** (bits - 1) - 1
    return np.asarray(np.clip(found, -limit - 1, limit, out=found))
