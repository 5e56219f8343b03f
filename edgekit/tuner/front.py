"""What a search is asked for, and which of several results no other is better than in everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

__all__ = ["SAMPLER", "Bounds", "Sampler", "Values", "dominates", "front", "out_of_bounds"]

Sampler: TypeAlias = Literal["gp", "tpe", "nsga2", "random"]
"""How the next values are drawn: by what a recipe is expected to add to the front (a Gaussian process), by what did well (tree-structured Parzen
estimators), by crossing what did well, or at random."""
SAMPLER: Sampler = "gp"
"""Where none is asked for."""
Values: TypeAlias = tuple[float, float, float]
"""Quality, which is to be high; cost and size, which are to be low."""


MOST_MINUTES = 527_040
"""Of a search: a year."""
MOST_TRIALS = 1_000_000


def out_of_bounds(minutes: float | None, trials: int | None, sampler: str, dashes: str = "") -> list[str]:
    """What of a search's limits cannot be used, in words; `dashes` stand before the name of each."""
    faults = []
    if minutes is not None and not (_is_number(minutes) and 0 < minutes <= MOST_MINUTES):
        faults.append(f"{dashes}minutes {_written(minutes)}: above 0, up to {MOST_MINUTES:,}")
    if trials is not None and not (type(trials) is int and 0 < trials <= MOST_TRIALS):
        faults.append(f"{dashes}trials {_written(trials)}: from 1 to {MOST_TRIALS:,}")
    if sampler not in get_args(Sampler):
        faults.append(f"{dashes}sampler {_written(sampler)}: write {', '.join(get_args(Sampler))}")
    return faults


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether `one` is as good as `other` in everything, and better in something."""
    signed = [(-one[0], -other[0]), (one[1], other[1]), (one[2], other[2])]
    return all(a <= b for a, b in signed) and any(a < b for a, b in signed)


def front(values: Sequence[Values]) -> list[int]:
    """Numbers of the values that no other dominates; of equal ones the first."""
    return [
        number
        for number, one in enumerate(values)
        if not any(dominates(other, one) for other in values) and one not in values[:number]
    ]


@dataclass(frozen=True)
class Bounds:
    """What is asked for; None for no bound."""

    lose: float | None = None
    """Share of 1 of the metric that may be lost."""
    faster: float | None = None
    """Times as fast as ONNX Runtime fp32 of the original, from text to answer."""
    smaller: float | None = None
    """Megabytes (10^6 bytes) of model and tokenizer at most."""

    def faults(self) -> list[str]:
        """What of it cannot be asked for, in words."""
        said = [
            f"{name} {_written(value)}: a number above 0"
            for name, value in (("faster", self.faster), ("smaller", self.smaller))
            if value is not None and not (_is_number(value) and 0 < value < math.inf)
        ]
        if self.lose is not None and not (_is_number(self.lose) and 0 <= self.lose <= 1):
            said.append(f"lose {_written(self.lose)}: a share from 0 to 1, as in 0.01")
        return said

    def over(self, lost: float, times: float | None, size_mb: float) -> dict[str, float]:
        """How far each bound is from being kept, as a share of it; 0 or less where it is."""
        found = {}
        if self.lose is not None:
            found["lose"] = (lost - self.lose) / max(self.lose, 0.001)
        if self.faster is not None and times is not None:
            found["faster"] = self.faster / times - 1
        if self.smaller is not None:
            found["smaller"] = size_mb / self.smaller - 1
        return found
