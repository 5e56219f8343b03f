"""GPTQ: what rounding one row of a weight costs is made up for by the rows after it, by second-order statistics of the inputs.

Frantar et al. 2023, arXiv 2210.17323, algorithm 1: weights are rounded in the order of the layer's inputs, and the error of each is
taken up by those not yet rounded, by the inverse Hessian of the inputs. Blocks get their scale when their turn comes.
"""

from __future__ import annotations

import numpy as np

from edgekit.errors import BadInput
from edgekit.quantize.blocks import Blocks, best_scale, in_blocks, rounded

__all__ = ["gptq", "inverse_factor"]

DAMPING = 0.01
"""Share of the mean diagonal added to the Hessian, as in GPTQ's own code."""


def gptq(weight: np.ndarray, bits: int, block: int, upper: np.ndarray) -> Blocks:
    """Round float32 `weight` (in, out) for inputs whose Hessian has the `inverse_factor` `upper` (in, in)."""
    rows, columns = weight.shape
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
        for offset in range(end - start):
            row = start + offset
            whole = rounded(chunk[:, offset : offset + 1][:, None], step, bits)[:, 0]
            values[:, number, offset] = whole[:, 0]
            errors[:, offset] = (chunk[:, offset] - whole[:, 0] * step[:, 0]) / upper[row, row]
            chunk[:, offset + 1 : end - start] -= errors[:, offset : offset + 1] * upper[row, row + 1 : end]
        values[:, number, end - start :] = 0
        left[:, end:rows] -= errors @ upper[start:end, end:]
    return Blocks(values, scale, rows)


def inverse_factor(hessian: np.ndarray) -> np.ndarray:
    """The upper Cholesky factor of H^-1, float64 (in, in), of `hessian`, the sum of x x' over calibration tokens.

    Inputs that never were get a row of the identity.

    Raises:
        BadInput: a Hessian that is not finite or all zero.
    """
    diagonal = np.diag(hessian)
    if not np.isfinite(hessian).all() or not (diagonal > 0).any():
        raise BadInput(
            "the inputs of a layer are not finite or all zero", where="quantize, gptq", fix="calibrate on rows that hold text"
        )
    mean = float(diagonal.mean())
    whole = hessian.astype(np.float64) + np.diag(DAMPING * mean + np.where(diagonal > 0, 0.0, mean))
    inverse = np.linalg.inv(whole)
    return np.asarray(np.linalg.cholesky((inverse + inverse.T) / 2).T)
