"""The parts of a result that a report names: a quality, a variant, a stage, an audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.report.measured import Timing
from edgekit.runtime.bench.words import GRAPH, TEXT

__all__ = ["Audit", "Quality", "Requirement", "Stage", "Variant"]


@dataclass(frozen=True)
class Quality:
    """A metric on the test rows, and its paired difference from the original; shares of 1."""

    metric: str
    value: float
    n: int
    difference: float
    low: float
    high: float
    """95% interval of the difference."""
    ratio: tuple[float, float, float] | None = None
    """The metric over the original's, with its 95% interval; None where it was not stated."""
    beside: Mapping[str, float] = field(default_factory=dict)
    """Further metrics by name."""

    @property
    def tells(self) -> bool:
        """Whether the interval leaves a difference from the original: it does not hold 0."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Variant:
    """One model of the comparison. Sizes and memory in MB (10^6 bytes); None where unknown here."""

    name: str
    title: str
    quality: Quality | None
    file_mb: float | None = None
    total_mb: float | None = None
    """Model and tokenizer together."""
    timings: Mapping[str, Timing] = field(default_factory=dict)
    """By scenario: TEXT, GRAPH, or a number of tokens."""
    phases: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds of each phase of a process."""
    peak_mb: float | None = None
    above_baseline_mb: float | None = None
    not_made: str = ""
    """Why there is no such model; "" where there is."""

    @property
    def graph(self) -> Timing | None:
        """Timing of the graph alone on test rows at their real lengths; of a decoder, of a token."""
        return self.timings.get(GRAPH)

    @property
    def lead(self) -> Timing | None:
        """Timing from text to answer, what a user waits for; of a decoder, and where an earlier edgekit measured, of the graph alone."""
        return self.timings.get(TEXT, self.graph)


@dataclass(frozen=True)
class Stage:
    """One step of the run."""

    stage: str
    title: str
    key: str
    seconds: float
    """Time it took when it ran, in seconds."""
    reused: bool
    """It was there already, so nothing was spent this time."""
    parameters: int | None
    bytes: int | None
    times_differ: float | None = None
    """How far apart the two measurements of block times lie that a pruning step chose by, as a share."""
    doubts: tuple[str, ...] = ()
    """What it found of rows that makes figures doubtful."""


@dataclass(frozen=True)
class Requirement:
    """One thing the target asks of the graph that runs."""

    name: str
    holds: bool
    found: str


@dataclass(frozen=True)
class Audit:
    """What the runtime really executes of the bundle."""

    arch: str
    observed: bool
    """The kernels were seen on the target's own kind of chip."""
    constant: int
    integer: int
    weight_only: int
    """MatMuls with weights of 8 or 4 bits that multiply in floating point."""
    kept_float: tuple[str, ...]
    """MatMuls left in float32 on purpose, for quality."""
    activation: int
    fallbacks: tuple[tuple[str, str], ...]
    """(node, why) of each MatMul left in floating point."""
    stray_qdq: int
    casts: int
    fused: Mapping[str, int]
    nodes: tuple[int, int]
    """In the file, and after the runtime's own optimiser."""
    requirements: tuple[Requirement, ...]
    ok: bool
    notes: tuple[str, ...]
    counted: str = "run in integer kernels"
    """What is true of the `integer` MatMuls, as the audit puts it."""
    stand_in: str = ""
    """The provider whose kernels were read and scored with, where the machine had not the target's own."""
