"""What a search is asked for, and which of several results no other is better than in everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Bounds", "Sampler", "Values", "dominates", "front"]

Sampler: TypeAlias = Literal["tpe", "nsga2", "random"]
"""How the next values are drawn: by what did well (tree-structured Parzen estimators), by crossing what did well, or at random."""
Values: TypeAlias = tuple[float, float, float]
"""Quality, which is to be high; cost and size, which are to be low."""


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
