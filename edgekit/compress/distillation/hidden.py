"""Loss between the hidden states of a student and of its teacher: by a fixed layer map, or each layer against the nearest one."""

from __future__ import annotations

import torch

__all__ = ["dynamic_loss", "mapped_loss", "nearest_in_order"]


def mapped_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared error of (tokens, layers, hidden), layer against layer (Jiao et al. 2020, TinyBERT, eq. 8)."""
    return (student - teacher).square().mean()


def dynamic_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared error of student layers (tokens, n, hidden) against the teacher layers (tokens, m, hidden) nearest to them.

    Nearest in sum, and in order: a later student layer never follows an earlier teacher layer (Xia et al. 2022, CoFi, eq. 5).
    """
    with torch.no_grad():
        away = (student[:, :, None] - teacher[:, None]).square().mean(dim=(0, 3))
    return mapped_loss(student, teacher[:, nearest_in_order(away.tolist())])


def nearest_in_order(away: list[list[float]]) -> list[int]:
    """For each row of `away` (n, m) a column, rising from row to row, with the least sum; n <= m, else columns may repeat."""
    n, m = len(away), len(away[0])
    if n > m:
        return [min(range(m), key=row.__getitem__) for row in away]
    best = [0.0] * (m + 1)  # least sum of the rows so far within the first k columns
    taken: list[list[bool]] = []
    for number, row in enumerate(away):
        fresh = [float("inf")] * (m + 1)
        marks = [False] * (m + 1)
        for k in range(number + 1, m + 1):
            with_k = best[k - 1] + row[k - 1]
            fresh[k], marks[k] = (with_k, True) if with_k < fresh[k - 1] else (fresh[k - 1], False)
        best = fresh
        taken.append(marks)
    columns, k = [], m
    for number in range(n - 1, -1, -1):
        while not taken[number][k]:
            k -= 1
        columns.append(k - 1)
        k -= 1
    return columns[::-1]
