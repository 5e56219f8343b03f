"""GPTQ, and what can still be gained after it: weights are rounded by second-order statistics of what their layer reads.

Frantar et al. 2023, arXiv 2210.17323, algorithm 1: weights are rounded in the order of the layer's inputs, and the error of each is
taken up by those not yet rounded, by the inverse Hessian of the inputs. Blocks get their scale when their turn comes, by the error that the
later weights cannot take up. After it, a few times over, the scales are solved for, all of a column at once, and every whole number goes to
its best given all others (Behdin et al. 2023, arXiv 2309.01885, QuantEase). Both can only lower the layer's squared error, which is what GPTQ
lowers too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.errors import BadInput
from edgekit.quantize.blocks import Blocks, best_scale, in_blocks, rounded

__all__ = ["Curvature", "curvature", "gptq"]

DAMPING = 0.01
"""Share of the mean diagonal added to the Hessian, as in GPTQ's own code."""
ROUNDS = 2
"""Times that scales are solved for and whole numbers moved: on a small matrix two were worth a fifth of the error, a third one hundredth."""
TOGETHER = 256
"""Columns that are worked on at a time: few enough to stay in the cache."""
RIDGE = 1e-9
"""Share of the mean diagonal that keeps the solving of scales away from division by zero."""


@dataclass(frozen=True)
class Curvature:
    """Of a layer's inputs, float64 (in, in) each."""

    hessian: np.ndarray
    """The damped sum of x x' over calibration tokens."""
    upper: np.ndarray
    """The upper Cholesky factor of its inverse."""


def curvature(sums: np.ndarray) -> Curvature:
    """Of `sums`, the sum of x x' over calibration tokens, float64 (in, in). Inputs that never were get a row of the identity.

    Raises:
        BadInput: sums that are not finite or all zero.
    """
    diagonal = np.diag(sums)
    if not np.isfinite(sums).all() or not (diagonal > 0).any():
        raise BadInput(
            "the inputs of a layer are not finite or all zero", where="quantize, gptq", fix="calibrate on rows that hold text"
        )
    mean = float(diagonal.mean())
    whole = sums.astype(np.float64) + np.diag(DAMPING * mean + np.where(diagonal > 0, 0.0, mean))
    inverse = np.linalg.inv(whole)
    return Curvature(whole, np.ascontiguousarray(np.linalg.cholesky((inverse + inverse.T) / 2).T))


def gptq(weight: np.ndarray, bits: int, block: int, inputs: Curvature) -> Blocks:
    """Round float32 `weight` (in, out) for what its layer reads."""
    rows, columns = weight.shape
    count = -(-rows // block)
    values = np.empty((columns, count, block), dtype=np.int8)
    scale = np.empty((columns, count), dtype=np.float32)
    hessian = np.zeros((count * block, count * block))
    hessian[:rows, :rows] = inputs.hessian
    for start in range(0, columns, TOGETHER):
        part = slice(start, start + TOGETHER)
        wanted = in_blocks(weight[:, part], block).reshape(-1, count * block)
        whole, step = _one_by_one(wanted, rows, bits, block, inputs.upper)
        pull = wanted @ hessian
        for _ in range(ROUNDS):
            step = _best_scales(whole, step, pull, hessian, block)
            _move(whole, step, pull, hessian, rows, bits)
        scale[part] = _best_scales(whole, step, pull, hessian, block)
        values[part] = whole.reshape(-1, count, block)
    return Blocks(values, scale, rows)


def _one_by_one(wanted: np.ndarray, rows: int, bits: int, block: int, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(whole numbers (out, in), scales (out, blocks)) of `wanted` (out, in), whose inputs are `rows` and then zeros: GPTQ itself."""
    columns, size = wanted.shape
    left, whole, scale = wanted.copy(), np.zeros((columns, size)), np.empty((columns, size // block))
    for number in range(size // block):
        start, end = number * block, min((number + 1) * block, rows)
        worth = np.zeros(block)
        worth[: end - start] = 1 / np.diag(upper)[start:end]
        chunk = left[:, start : start + block]
        step = scale[:, number : number + 1] = best_scale(chunk[:, None], bits, worth)
        errors = np.zeros((columns, end - start))
        for offset in range(end - start):
            row = start + offset
            whole[:, row : row + 1] = rounded(chunk[:, offset : offset + 1][:, None], step, bits)[:, 0]
            errors[:, offset] = (chunk[:, offset] - whole[:, row] * step[:, 0]) / upper[row, row]
            chunk[:, offset + 1 : end - start] -= errors[:, offset : offset + 1] * upper[row, row + 1 : end]
        left[:, end:rows] -= errors @ upper[start:end, end:]
    return whole, scale


def _best_scales(whole: np.ndarray, scale: np.ndarray, pull: np.ndarray, hessian: np.ndarray, block: int) -> np.ndarray:
    """(out, blocks), as float32 holds them: those of least squared error for `whole` (out, in), by the normal equations of every column;
    where a block is all zeros, or nothing is solved, the one it has. `pull` (out, in): the wanted weights times `hessian`."""
    columns, size = whole.shape
    count = size // block
    blocks = whole.reshape(columns, count, block)
    right = np.einsum("obk,obk->ob", blocks, pull.reshape(columns, count, block))
    left = np.empty((columns, count, count))
    for number in range(count):
        part = slice(number * block, (number + 1) * block)
        left[:, number] = ((whole[:, part] @ hessian[part]) * whole).reshape(columns, count, block).sum(axis=2)
    empty = ~blocks.any(axis=2)
    diagonal = np.einsum("obb->ob", left)
    diagonal += RIDGE * diagonal.mean(axis=1, keepdims=True) + empty
    solved = np.linalg.solve(left, right[:, :, None])[:, :, 0]
    return np.asarray(
        np.where(empty | ~np.isfinite(solved) | (solved == 0), scale, solved).astype(np.float32).astype(np.float64)
    )


def _move(whole: np.ndarray, scale: np.ndarray, pull: np.ndarray, hessian: np.ndarray, rows: int, bits: int) -> None:
    """Every input's whole numbers `whole` (out, in) in turn by the steps that are best, given all others, in place."""
    columns, size = whole.shape
    block, limit = size // scale.shape[1], 2 ** (bits - 1) - 1
    short = pull - (whole * np.repeat(scale, block, axis=1)) @ hessian
    for start in range(0, rows, block):
        end, step = min(start + block, rows), scale[:, start // block]
        by = np.where(whole[:, start:end].any(axis=1), step, np.inf)  # a block of zeros, whose scale means nothing, stays
        moved = np.zeros((columns, end - start))
        inside = short[:, start:end]
        for offset in range(end - start):
            row = start + offset
            better = whole[:, row] + np.rint(inside[:, offset] / (hessian[row, row] * by))
            np.clip(better, -limit - 1, limit, out=better)
            moved[:, offset] = (better - whole[:, row]) * step
            whole[:, row] = better
            inside -= moved[:, offset : offset + 1] * hessian[row, start:end]
        short[:, end:] -= moved @ hessian[start:end, end:]
