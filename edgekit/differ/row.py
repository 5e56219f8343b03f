"""What both sides are run on: the token ids of golden inputs, and the same with padding behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from edgekit.differ.parts import Part

__all__ = ["PADDING", "Row", "Values", "padded"]

Values: TypeAlias = Mapping[Part, np.ndarray]
"""float32 (tokens, channels) of each part; of an output that is one for the whole input (1, channels)."""
PADDING = 7
"""Tokens that are put behind an input to see whether the mask keeps them out."""


@dataclass(frozen=True)
class Row:
    """One run of the model."""

    ids: np.ndarray
    """int64 (n,)."""
    types: np.ndarray | None
    """int64 (n,): which of two texts a token is of; None where the model has no such input."""
    text: str
    """What it was made of, for messages."""
    padding: int = 0
    """How many of the ids, at the end, are padding."""

    @property
    def real(self) -> int:
        """How many tokens are none."""
        return len(self.ids) - self.padding

    @property
    def mask(self) -> np.ndarray:
        """int64 (n,): 1 for each token, 0 for padding."""
        return (np.arange(len(self.ids)) < self.real).astype(np.int64)


def padded(row: Row, pad: int) -> Row:
    """`row` with padding behind it."""
    ids = np.concatenate([row.ids, np.full(PADDING, pad, dtype=np.int64)])
    types = None if row.types is None else np.concatenate([row.types, np.zeros(PADDING, dtype=np.int64)])
    return replace(row, ids=ids, types=types, padding=PADDING)
