"""Ranges that a search may draw the values of a setting from. Methods and number formats declare their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Choice", "Integers", "Range", "Ranges", "Reals"]


@dataclass(frozen=True)
class Choice:
    """One of several values without an order.

    Raises:
        ValueError: no value, or one that stands twice.
    """

    values: tuple[str | int | float | bool | None, ...]

    def __post_init__(self) -> None:
        if not self.values or len({repr(value) for value in self.values}) < len(self.values):
            raise ValueError(f"a choice is between different values: {self.values}")

    @property
    def ends(self) -> tuple[str | int | float | bool | None, ...]:
        """All of them."""
        return self.values


@dataclass(frozen=True)
class Integers:
    """Whole numbers from `low` to `high`, both included.

    Raises:
        ValueError: there are none, or the logarithm of one is asked for that has none.
    """

    low: int
    high: int
    log: bool = False
    """Whether equal ratios are equally likely, instead of equal differences."""

    def __post_init__(self) -> None:
        _check(self.low, self.high, log=self.log)

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the most."""
        return self.low, self.high


@dataclass(frozen=True)
class Reals:
    """Numbers from `low` to `high`, both included; raises as `Integers`."""

    low: float
    high: float
    log: bool = False
    """Whether equal ratios are equally likely, instead of equal differences."""

    def __post_init__(self) -> None:
        _check(self.low, self.high, log=self.log)

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the most."""
        return self.low, self.high


def _check(low: float, high: float, *, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high) or (log and low <= 0):
        raise ValueError(f"no range of numbers: {low} to {high}{' in logarithms' if log else ''}")


Range: TypeAlias = Choice | Integers | Reals
Ranges: TypeAlias = Mapping[str, Range]
"""Setting -> what it is drawn from."""
