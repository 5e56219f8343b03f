"""Which teacher layer each student layer is shown."""

from __future__ import annotations

__all__ = ["uniform_map"]


def uniform_map(student: int, teacher: int) -> list[int]:
    """Teacher layer (1-based count of layers run) for each student layer: g(l) = l * N_t / N_s, rounded down, never 0."""
    return [max(1, (layer * teacher) // student) for layer in range(1, student + 1)]
