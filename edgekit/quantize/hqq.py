"""HQQ: blocks with a zero point of their own, found without data.

Badri and Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models": the zero point that minimises
||W - s (Q - z)||_p^p, p = 0.7, by alternating a shrinkage of the error with a mean.
"""

from __future__ import annotations

import numpy as np

from edgekit.quantize.blocks import CHUNK, Blocks, in_blocks

__all__ = ["hqq"]

STEPS, POWER, BETA, GROWTH = 20, 0.7, 10.0, 1.01
"""HQQ's own settings: steps, p, the first weight of the quadratic term, and its growth a step."""


def hqq(weight: np.ndarray, bits: int, block: int) -> Blocks:
    """Round float32 `weight` (in, out) with a zero point for each block, rounded to a whole number as the kernel wants it."""
    rows, columns = weight.shape
    count = -(-rows // block)
    values = np.empty((columns, count, block), dtype=np.int8)
    scale = np.empty((columns, count), dtype=np.float32)
    zero = np.empty((columns, count), dtype=np.int8)
    half = 2 ** (bits - 1)
    for start in range(0, columns, CHUNK):
        part = slice(start, start + CHUNK)
        blocks = in_blocks(weight[:, part], block)
        low, high = np.minimum(blocks.min(axis=2), 0), np.maximum(blocks.max(axis=2), 0)
        step = np.maximum((high - low) / (2**bits - 1), 1e-12).astype(np.float32).astype(np.float64)
        middle = np.clip(np.rint(_zero_points(blocks, step, -half - low / step, half)), -half, half - 1)
        found = np.clip(np.rint(blocks / step[:, :, None] + middle[:, :, None]), -half, half - 1)
        values[part], scale[part], zero[part] = found, step, middle
    return Blocks(values, scale, rows, zero)


def _zero_points(blocks: np.ndarray, step: np.ndarray, zero: np.ndarray, half: int) -> np.ndarray:
    """float64 (out, blocks): the zero points of the step with the smallest error."""
    beta = BETA
    best, kept = np.full(zero.shape, np.inf), zero
    for _ in range(STEPS):
        whole = np.clip(np.rint(blocks / step[:, :, None] + zero[:, :, None]), -half, half - 1)
        error = blocks - (whole - zero[:, :, None]) * step[:, :, None]
        lost = (np.abs(error) ** POWER).sum(axis=2)
        kept = np.where(lost < best, zero, kept)
        best = np.minimum(lost, best)
        size = np.abs(error)
        shrunk = np.sign(error) * np.maximum(size - np.maximum(size, 1e-12) ** (POWER - 1) / beta, 0)
        zero = (whole - (blocks - shrunk) / step[:, :, None]).mean(axis=2)
        beta *= GROWTH
    return kept
