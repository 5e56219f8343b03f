"""Removing weights of a linear layer so that the others compensate for them: Optimal Brain Surgeon on a layer's squared error.

With inputs X and H = X'X, removing the inputs S of weights W (out, in) raises ||X W' - X W'_new||^2 by tr(W_S ((H^-1)_SS)^-1 W_S')
when the rest takes up dW = -W_S ((H^-1)_SS)^-1 (H^-1)_S:. SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774, algorithm 1)
walks once over the columns and updates only those to the right, for all rows at once. ZipLM (Kurtic et al. 2023, arXiv
2302.04089, algorithm 1) removes whole groups of inputs, always the cheapest, and downdates H^-1. All float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.compress.pruning.sparse import Pattern, check_divides, kept_of, kept_overall
from edgekit.errors import BadInput

__all__ = ["Level", "damped_inverse", "remove_groups", "sparsegpt", "squared_error"]

SMALLEST = 1e-13
"""A pivot below this share of the largest diagonal entry is rounding: the inverse would be noise."""


@dataclass(frozen=True)
class Level:
    """A layer with some groups of inputs left."""

    kept: np.ndarray
    """Indices of the groups that stay, ascending."""
    weight: np.ndarray
    """float64 (out, len(kept) * size)."""
    error: float
    """Squared error added, by the Hessian that was given (damping left out)."""


def damped_inverse(hessian: np.ndarray, damping: float) -> np.ndarray:
    """(H + damping * mean(diag H) I)^-1; inputs that are always zero get the mean of the diagonal.

    Raises:
        BadInput: not finite, all zero, or singular even so.
    """
    where = "compress, Hessian of the calibration inputs"
    diagonal = np.diag(hessian)
    if not np.isfinite(hessian).all():
        raise BadInput("the inputs of a layer are not finite", where=where, fix="check the checkpoint: its outputs overflow")
    if not (diagonal > 0).any():
        raise BadInput("the inputs of a layer are all zero", where=where, fix="give calibration rows that are not all padding")
    mean = _mean_diagonal(hessian)
    whole = hessian + np.diag(damping * mean + np.where(diagonal > 0, 0.0, mean))
    try:
        lower = np.linalg.cholesky(whole)
        sound = float(np.diag(lower).min()) ** 2 > SMALLEST * float(np.diag(whole).max())
    except np.linalg.LinAlgError:
        sound = False
    if not sound:
        raise BadInput(
            f"singular: {len(hessian)} inputs, fewer independent rows, damping {damping:g}",
            where=where,
            fix="calibrate on more `rows`, or raise `damping`",
        )
    half = np.linalg.inv(lower)
    return np.asarray(half.T @ half)


def squared_error(change: np.ndarray, hessian: np.ndarray) -> float:
    """||X dW'||^2 of a change dW (out, in) under H = X'X."""
    return float(((change @ hessian) * change).sum())


def sparsegpt(weight: np.ndarray, hessian: np.ndarray, pattern: Pattern, *, damping: float, block: int = 128) -> np.ndarray:
    """Weights (out, in) with the zeros that `pattern` asks for, the others changed to compensate for them.

    A share of zeros is met in each block of `block` columns, over all rows together; N:M in each row.
    """
    out, columns = weight.shape
    check_divides(columns, pattern)
    block = block // pattern.group * pattern.group or pattern.group if pattern.group else block
    step = np.linalg.cholesky(damped_inverse(hessian, damping)).T  # upper U with U'U = H^-1: row j holds step j's updates
    left = weight.astype(np.float64)
    left[:, np.diag(hessian) <= 0] = 0.0
    for start in range(0, columns, block):
        end = min(start + block, columns)
        pivots = np.diag(step)[start:end]
        kept = np.ones((out, end - start), dtype=bool)
        if not pattern.group:
            kept = kept_overall([(left[:, start:end] / pivots) ** 2], pattern.sparsity)[0]
        errors = np.zeros((out, end - start))
        for column in range(start, end):
            at = column - start
            if pattern.group and column % pattern.group == 0:
                last = column + pattern.group
                scores = (left[:, column:last] / np.diag(step)[column:last]) ** 2
                kept[:, at : at + pattern.group] = kept_of(scores, pattern)
            errors[:, at] = np.where(kept[:, at], 0.0, left[:, column]) / step[column, column]
            left[:, column:end] -= np.outer(errors[:, at], step[column, column:end])
            left[~kept[:, at], column] = 0.0
        left[:, end:] -= errors @ step[start:end, end:]
    return left


def remove_groups(
    weight: np.ndarray, hessian: np.ndarray, size: int, levels: Sequence[int], *, damping: float, together: int = 1
) -> Iterator[Level]:
    """The layer at each of `levels`, numbers of groups that stay, descending; a group is `size` neighbouring inputs.

    `together` groups are removed at a time, those that cost least by themselves; removing all of them takes O(in^3). Removed inputs
    leave the matrices too, so the work shrinks with the layer.
    """
    dense = np.where(np.diag(hessian) > 0, weight, 0.0).astype(np.float64)
    left, inverse = dense, damped_inverse(hessian, damping)
    ridge, damped_error = damping * _mean_diagonal(hessian), 0.0
    kept = np.arange(weight.shape[1] // size)
    for level in levels:
        while len(kept) > level:
            count = min(together, len(kept) - level)
            worst = np.sort(np.argsort(_costs(left, inverse, size), kind="stable")[:count])
            gone, stay = _columns(worst, size), _columns(np.delete(np.arange(len(kept)), worst), size)
            block = inverse[np.ix_(gone, gone)]
            damped_error += float((left[:, gone].T * np.linalg.solve(block, left[:, gone].T)).sum())
            solved = np.linalg.solve(block, inverse[np.ix_(gone, stay)])
            left = left[:, stay] - left[:, gone] @ solved
            inverse = inverse[np.ix_(stay, stay)] - inverse[np.ix_(stay, gone)] @ solved
            kept = np.delete(kept, worst)
        change = dense.copy()
        change[:, _columns(kept, size)] -= left
        # The damped error is that of H plus `ridge` on the diagonal, so the layer's own follows without another product.
        yield Level(kept, left, max(0.0, damped_error - ridge * float(np.square(change).sum())))


def _columns(groups: np.ndarray, size: int) -> np.ndarray:
    return np.asarray((groups[:, None] * size + np.arange(size)).ravel())


def _mean_diagonal(hessian: np.ndarray) -> float:
    diagonal = np.diag(hessian)
    return float(diagonal[diagonal > 0].mean())


def _costs(weight: np.ndarray, inverse: np.ndarray, size: int) -> np.ndarray:
    """tr(W_S ((H^-1)_SS)^-1 W_S') of each group S, (groups,)."""
    if size == 1:
        return np.asarray((weight**2).sum(axis=0) / np.diag(inverse))
    groups = weight.shape[1] // size
    blocks = inverse.reshape(groups, size, groups, size)[np.arange(groups), :, np.arange(groups), :]
    parts = weight.reshape(len(weight), groups, size).transpose(1, 2, 0)
    return np.asarray((parts * np.linalg.solve(blocks, parts)).sum(axis=(1, 2)))
