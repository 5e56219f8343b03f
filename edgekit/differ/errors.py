"""How far what leaves a part is from the reference, over all tokens: sums that grow row by row, so that memory holds one row.

A channel's difference is counted as a share of the channel's own spread over tokens (its standard deviation, at least the channels' median),
because a few channels of a transformer's residual stream are hundreds of times as large as the rest and would be all that a plain norm sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["PartError", "Sums"]

TINY = 1e-12


@dataclass(frozen=True)
class PartError:
    """The error of one part. Shares are of spreads: 0.02 is 2%."""

    error: float
    """Root mean square over channels and tokens of the difference, as a share of each channel's spread."""
    cosine: float
    """Of all values with the reference's."""
    relative: float
    """Norm of the difference over norm of the reference: the plain relative error."""
    channel: int
    """The channel with the largest share."""
    channel_error: float
    """Its error, as a share of its spread."""
    channel_share: float
    """How much of the whole squared error is in it."""
    channels: int
    constant: float
    """How much of the squared error is the same in every token."""
    token: str
    """The token with the largest error, with the input it is of."""
    token_share: float
    """How much of the squared error is in it."""
    tokens: int


@dataclass
class Sums:
    """Sums over the tokens seen so far, of one part."""

    count: int = 0
    base: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """Sum of what is the measure, (channels,), and of its squares."""
    squares: np.ndarray = field(default_factory=lambda: np.zeros(0))
    differences: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """Sum of the differences, and of their squares."""
    energies: np.ndarray = field(default_factory=lambda: np.zeros(0))
    products: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """Sum of reference times other by channel, and of the squares of both."""
    wides: np.ndarray = field(default_factory=lambda: np.zeros(0))
    narrows: np.ndarray = field(default_factory=lambda: np.zeros(0))
    dots: np.ndarray = field(default_factory=lambda: np.zeros(3))
    """Sums of reference times reference, other times other, and one times the other."""
    tokens: list[tuple[float, str]] = field(default_factory=list)
    """(squared error, what it is) of every token; a token of 40 inputs is little."""

    def add(self, reference: np.ndarray, other: np.ndarray, measure: np.ndarray, names: list[str]) -> None:
        """Count tokens: float32 (tokens, channels) each; `measure`: what the spread is taken of; `names`: of the tokens."""
        wide, narrow, base = (array.astype(np.float64) for array in (reference, other, measure))
        difference = narrow - wide
        if not self.count:
            self.base, self.squares, self.differences, self.energies = (np.zeros(wide.shape[1]) for _ in range(4))
            self.products, self.wides, self.narrows = (np.zeros(wide.shape[1]) for _ in range(3))
        self.count += len(wide)
        self.base += base.sum(axis=0)
        self.squares += np.square(base).sum(axis=0)
        self.differences += difference.sum(axis=0)
        self.energies += np.square(difference).sum(axis=0)
        self.products += (wide * narrow).sum(axis=0)
        self.wides += np.square(wide).sum(axis=0)
        self.narrows += np.square(narrow).sum(axis=0)
        self.dots += [np.square(wide).sum(), np.square(narrow).sum(), (wide * narrow).sum()]
        self.tokens += zip(np.square(difference).sum(axis=1).tolist(), names, strict=True)

    def fitted(self) -> tuple[np.ndarray, float]:
        """(the factor for each channel, float32 (channels,), by which the other is nearest to the reference, the error that is left then)."""
        alive = (self.narrows > TINY) & (np.abs(self.products) > TINY)
        factor = np.where(alive, self.products / np.where(alive, self.narrows, 1.0), 1.0)
        left = np.maximum(self.wides - 2 * factor * self.products + np.square(factor) * self.narrows, 0.0)
        return factor.astype(np.float32), float(np.sqrt(np.square(np.sqrt(left / self.count) / self._spread()).mean()))

    def sized(self) -> np.ndarray:
        """The factor for each channel, float32 (channels,), by which the other is as large as the reference, whatever else differs."""
        alive = (self.narrows > TINY) & (self.wides > TINY)
        return np.where(alive, np.sqrt(self.wides / np.where(alive, self.narrows, 1.0)), 1.0).astype(np.float32)

    def _spread(self) -> np.ndarray:
        """Each channel's standard deviation over tokens, at least the channels' median."""
        mean = self.base / self.count
        spread = np.sqrt(np.maximum(self.squares / self.count - np.square(mean), 0.0))
        if self.count < 2 or not spread.any():
            spread = np.full_like(spread, np.sqrt(self.squares.mean() / self.count))
        return np.asarray(np.maximum(np.maximum(spread, np.median(spread)), TINY))

    def error(self) -> PartError:
        """The error over all that was counted."""
        spread = self._spread()
        shares = np.sqrt(self.energies / self.count) / spread
        whole = max(float(np.square(shares).sum()), TINY**2)
        worst = int(shares.argmax())
        energy = max(float(self.energies.sum()), TINY**2)
        constant = float((np.square(self.differences / self.count) / np.square(spread)).sum()) / whole
        largest, name = max(self.tokens)
        return PartError(
            error=float(np.sqrt(np.square(shares).mean())),
            cosine=float(self.dots[2] / max(np.sqrt(self.dots[0] * self.dots[1]), TINY)),
            relative=float(np.sqrt(self.energies.sum() / max(self.dots[0], TINY))),
            channel=worst,
            channel_error=float(shares[worst]),
            channel_share=float(np.square(shares[worst])) / whole,
            channels=len(shares),
            constant=constant,
            token=name,
            token_share=largest / energy,
            tokens=self.count,
        )
