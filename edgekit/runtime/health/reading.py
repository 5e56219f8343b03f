"""One reading, and the small files of /sys that most of them come from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Reading", "found", "missing", "number"]


@dataclass(frozen=True)
class Reading:
    """What one source says now: a value with its unit, or the reason why there is none. Never both, never neither."""

    source: str
    unit: str
    value: float | None = None
    reason: str | None = None


def found(source: str, unit: str, value: float) -> Reading:
    """A reading with a value."""
    return Reading(source, unit, value=value)


def missing(source: str, unit: str, reason: str) -> Reading:
    """A reading with the reason why there is no value."""
    return Reading(source, unit, reason=reason)


def number(path: Path) -> float | None:
    """The finite number in a file of /sys; None where it is not there, may not be read, or holds something else."""
    try:
        value = float(path.read_bytes().strip().decode("ascii").partition(" ")[0])
    except (OSError, ValueError):
        return None
    return value if math.isfinite(value) else None
