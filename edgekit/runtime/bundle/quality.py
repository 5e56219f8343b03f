"""What a manifest says of how good the model is: beside its original, and beside the library that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.runtime.records import OMITTED

__all__ = ["Agreement", "Beside", "Greedy", "Interval", "Quality", "SamePrefix", "SameTokens"]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% interval."""

    value: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class SameTokens:
    """Share of positions at which the most probable next token is the original's."""

    value: float
    ci95: tuple[float, float]
    tokens: int


@dataclass(frozen=True)
class SamePrefix:
    """Mean number of tokens with which greedy answers begin alike."""

    value: float
    ci95: tuple[float, float]
    prompts: int
    tokens: int


@dataclass(frozen=True)
class Greedy:
    """How often a language model says what the original says."""

    agreement: SameTokens
    prefix: SamePrefix


@dataclass(frozen=True)
class Beside:
    """A further metric of the original and of the packed model."""

    original: float
    value: float


@dataclass(frozen=True)
class Quality:
    """The metric of the packed model and of the original, in float32, on the same test rows."""

    metric: str
    n: int
    """Test rows."""
    original: float
    bundle: float
    difference: float
    ci95: tuple[float, float]
    """Paired 95% interval of the difference."""
    gained: int | None = None
    """Rows that the bundle alone has right; None where a row is not simply right or wrong. So are the next two."""
    lost: int | None = None
    mcnemar_p: float | None = None
    ratio: Interval | None = field(default=None, metadata=OMITTED)
    """Of 1/perplexity: the bundle's as a share of the original's."""
    greedy: Greedy | None = field(default=None, metadata=OMITTED)
    beside: Mapping[str, Beside] | None = field(default=None, metadata=OMITTED)
    """Further metrics by name."""
    scored_on: str | None = field(default=None, metadata=OMITTED)
    """Execution provider whose kernels the bundle was scored with, where they are not its own."""


@dataclass(frozen=True)
class Agreement:
    """The float32 original's answers by this runtime beside those of the library that the model comes with, from raw text on."""

    reference: str
    """The library."""
    inputs: int
    """Rows and made texts that both answered."""
    refused: int
    """Made texts that the runtime refuses to answer."""
    largest: float
    """Largest distance of two scores, numbers of an embedding or log-probabilities."""
