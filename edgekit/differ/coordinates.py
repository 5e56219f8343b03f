"""The coordinates that inner values are compared in, where a bundle's are other numbers for the same function than the reference's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgekit.differ.parts import Part

__all__ = ["APART", "SAME", "Coordinates"]

APART = "in other coordinates, which what reads them takes back"
"""Why such a part is not compared."""


@dataclass(frozen=True)
class Coordinates:
    """What makes the bundle's values comparable with the reference's."""

    factors: Mapping[Part, np.ndarray] = field(default_factory=dict)
    """The bundle's value times which is the reference's, float32 (channels,)."""
    apart: frozenset[Part] = frozenset()
    """Parts that no factor makes comparable."""


SAME = Coordinates()
