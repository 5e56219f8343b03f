"""Ways to round a weight to a few bits by blocks, beside clipping alone: with a zero point of its own, or with what rounding
one column costs made up for by the columns after it.

hqq: Badri and Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models": the zero point that minimises
    ||W - s (Q - z)||_p^p, p = 0.7, by alternating a shrinkage of the error with a mean. Needs no data.
gptq: Frantar et al. 2023, arXiv 2210.17323, algorithm 1: columns are rounded left to right, and the error of each is taken up by
    those not yet rounded, by the inverse Hessian of the layer's inputs. Blocks get their scale when their turn comes.
"""

from __future__ import annotations

import numpy as np

from edgekit.errors import BadInput
from edgekit.quantize.weight_only import CHUNK, Blocks, best_scale, in_blocks, rounded

__all__ = ["gptq", "hqq"]

STEPS, POWER, BETA, GROWTH = 20, 0.7, 10.0, 1.01
"""HQQ's own settings: steps, p, the first weight of the quadratic term, and its growth a step."""
DAMPING = 0.01
"""Share of the mean diagonal added to the Hessian, as in GPTQ's own code."""


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


def gptq(weight: np.ndarray, bits: int, block: int, hessian: np.ndarray) -> Blocks:
    """Round float32 `weight` (in, out) for inputs with `hessian` (in, in), the sum of x x' over calibration tokens.

    Raises:
        BadInput: a Hessian that is not finite or all zero.
    """
    rows, columns = weight.shape
    upper = _factor(hessian)
    left = in_blocks(weight, block).reshape(columns, -1)
    count = left.shape[1] // block
    values = np.empty((columns, count, block), dtype=np.int8)
    scale = np.empty((columns, count), dtype=np.float32)
    for number in range(count):
        start, end = number * block, min((number + 1) * block, rows)
        chunk = left[:, start : start + block]
        scale[:, number] = best_scale(chunk[:, None], bits)[:, 0]
        step = scale[:, number].astype(np.float64)[:, None]
        errors = np.zeros((columns, end - start))
        for place in range(end - start):
            column = start + place
            whole = rounded(chunk[:, place : place + 1][:, None], step, bits)[:, 0]
            values[:, number, place] = whole[:, 0]
            errors[:, place] = (chunk[:, place] - whole[:, 0] * step[:, 0]) / upper[column, column]
            chunk[:, place + 1 : end - start] -= errors[:, place : place + 1] * upper[column, column + 1 : end]
        values[:, number, end - start :] = 0
        left[:, end:rows] -= errors @ upper[start:end, end:]
    return Blocks(values, scale, rows)


def _factor(hessian: np.ndarray) -> np.ndarray:
    """The upper Cholesky factor of H^-1, float64; inputs that never were get a row of the identity."""
    diagonal = np.diag(hessian)
    if not np.isfinite(hessian).all() or not (diagonal > 0).any():
        raise BadInput(
            "the inputs of a layer are not finite or all zero", where="quantize, gptq", fix="calibrate on rows that hold text"
        )
    mean = float(diagonal.mean())
    whole = hessian.astype(np.float64) + np.diag(DAMPING * mean + np.where(diagonal > 0, 0.0, mean))
    inverse = np.linalg.inv(whole)
    return np.asarray(np.linalg.cholesky((inverse + inverse.T) / 2).T)
