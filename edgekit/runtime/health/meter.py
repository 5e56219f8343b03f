"""Sources of energy readings: counters of joules, and sensors of watts, which are sampled and integrated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Meter"]


@dataclass(frozen=True)
class Meter:
    """One source of energy readings."""

    name: str
    scope: str
    """Whose energy it is, in words."""
    read: Callable[[], float | None]
    """Joules so far where it `counts`, else watts now; None where a reading fails."""
    counts: bool
    wraps_joules: float | None = None
    """A counter begins again at 0 after so many joules."""
