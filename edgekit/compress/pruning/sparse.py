"""Which single weights stay: masks by a score, for a share of zeros or for N of every M.

Scores are the magnitude |W| (Han et al. 2015, arXiv 1506.02626) or Wanda's |W_ij| ||X_j||_2 (Sun et al. 2023, arXiv
2306.11695, eq. 1), which compares weights of one output only. N:M keeps at most N of each M neighbouring inputs of an output.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.errors import BadInput

__all__ = [
    "Pattern",
    "check_divides",
    "compressed_bytes",
    "kept_by_row",
    "kept_of",
    "kept_overall",
    "parse_pattern",
    "wanda_scores",
]


@dataclass(frozen=True)
class Pattern:
    """Where zeros are wanted: a share of all weights, or all but `keep` of every `group` neighbouring inputs."""

    sparsity: float
    keep: int = 0
    group: int = 0
    """0: zeros may be anywhere."""

    def divides(self, inputs: int) -> bool:
        """Whether rows of so many inputs divide into groups."""
        return not self.group or inputs % self.group == 0


def parse_pattern(text: str) -> Pattern:
    """`"2:4"` as a pattern: two of every four stay.

    Raises:
        BadInput: not N:M with 0 < N < M.
    """
    match = re.fullmatch(r"(\d{1,3}):(\d{1,3})", text)
    keep, group = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 < keep < group:
        raise BadInput(
            f"pattern {text!r} is not N:M with 0 < N < M", where="compress, pattern", fix='write "2:4", for instance'
        )
    return Pattern(1 - keep / group, keep, group)


def wanda_scores(weight: np.ndarray, second: np.ndarray) -> np.ndarray:
    """|W_ij| ||X_j||_2, float64 (out, in), of weights (out, in) and X'X (in, in)."""
    return np.asarray(np.abs(weight) * np.sqrt(np.maximum(np.diag(second), 0.0)))


def kept_overall(scores: Sequence[np.ndarray], sparsity: float) -> list[np.ndarray]:
    """Bool masks shaped like `scores` that drop round(sparsity * all) weights with the lowest scores of all arrays together."""
    flat = np.concatenate([score.ravel() for score in scores])
    kept = np.ones(len(flat), dtype=bool)
    kept[np.argsort(flat, kind="stable")[: round(sparsity * len(flat))]] = False
    parts = np.split(kept, np.cumsum([score.size for score in scores])[:-1])
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def kept_by_row(scores: np.ndarray, sparsity: float) -> np.ndarray:
    """Bool mask (out, in) that drops round(sparsity * in) weights of each row."""
    kept = np.ones(scores.shape, dtype=bool)
    order = np.argsort(scores, axis=1, kind="stable")[:, : round(sparsity * scores.shape[1])]
    np.put_along_axis(kept, order, False, axis=1)
    return kept


def check_divides(columns: int, pattern: Pattern) -> None:
    """Check that rows of `columns` inputs divide into the pattern's groups.

    Raises:
        BadInput: they do not.
    """
    if not pattern.divides(columns):
        raise BadInput(
            f"a layer of {columns} inputs does not divide into groups of {pattern.group}",
            where="compress, pattern",
            fix="choose a group that divides the model's hidden size and intermediate size",
        )


def kept_of(scores: np.ndarray, pattern: Pattern) -> np.ndarray:
    """Bool mask (out, in) with the `keep` best of every `group` neighbours of a row.

    Raises:
        BadInput: rows that do not divide into groups.
    """
    rows, columns = scores.shape
    check_divides(columns, pattern)
    groups = scores.reshape(-1, pattern.group)
    kept = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(kept, np.argsort(-groups, axis=1, kind="stable")[:, : pattern.keep], True, axis=1)
    return kept.reshape(rows, columns)


def compressed_bytes(weights: Sequence[np.ndarray]) -> int:
    """Bytes of all weights (out, in) after zlib, each rounded to int8 by its row's largest magnitude."""
    total = 0
    for weight in weights:
        scale = np.maximum(np.abs(weight).max(axis=1, keepdims=True), 1e-12) / 127
        total += len(zlib.compress(np.rint(weight / scale).astype(np.int8).tobytes(), 6))
    return total
