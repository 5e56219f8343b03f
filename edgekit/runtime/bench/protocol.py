"""How a benchmark is taken, whatever is measured: fresh interleaved processes, memory read beside language models, energy, and what a
reader must know of the machine. The variants of a result and a lone bundle are measured by this one function.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from edgekit.runtime.bench.environment import snapshot
from edgekit.runtime.bench.supervise import Runs, energy_facts, run_children, validity
from edgekit.runtime.errors import BadInput, Interrupted
from edgekit.runtime.health.record import Recorder, find_meters
from edgekit.runtime.progress import Progress
from edgekit.runtime.threads import Threads

__all__ = ["LENGTHS", "MEMORY", "Measurement", "Protocol", "chosen_by", "fixed_lengths", "take"]

LENGTHS = (16, 64, 128)
"""Fixed numbers of tokens that encoders are timed at, beside the real lengths."""
RANGES = {"processes": (1, 10_000), "threads": (1, 4096), "seed": (0, 2**31 - 1)}
"""Whole numbers of a protocol -> (least, most)."""
LONGEST_SECONDS = 3600
MEMORY = "memory-reading"
"""The process that reads memory beside the variants of a language model, once a round."""


@dataclass(frozen=True)
class Protocol:
    """How long and how often each variant is timed.

    Raises:
        BadInput: numbers out of range.
    """

    processes: int
    """Fresh processes a variant."""
    seconds: float
    """Timed seconds in each process and scenario."""
    min_runs: int
    """Timed runs in each process and scenario at least."""
    max_warmup_seconds: float
    threads: int
    """Threads inside one operator."""
    seed: int = 7
    """Of the order of processes and of the inputs."""

    def __post_init__(self) -> None:
        faults = [
            f"{name}: {getattr(self, name)!r} is not a whole number from {low:,} to {high:,}"
            for name, (low, high) in RANGES.items()
            if type(getattr(self, name)) is not int or not low <= getattr(self, name) <= high
        ]
        if type(self.seconds) not in (int, float) or not 0 < self.seconds < LONGEST_SECONDS:
            faults.append(f"seconds: {self.seconds!r} is not a number above 0 and below {LONGEST_SECONDS:,}")
        if faults:
            raise BadInput("numbers that no benchmark can have", where="bench", faults=faults)

    def specification(self) -> dict[str, Any]:
        """The part of a process' specification that all variants share."""
        return {
            "seconds": self.seconds, "min_runs": self.min_runs, "max_warmup_seconds": self.max_warmup_seconds, "threads": self.threads,
        }  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """What the processes gave, and the machine before them."""

    runs: Runs
    memory_reads: list[float]
    """GB/s at which memory was read, once a round; of encoders none."""
    before: dict[str, Any]
    recorder: Recorder
    unread: list[str]
    """Why no more energy meters could be read."""

    def facts(self, *, complete: bool) -> dict[str, Any]:
        """The parts of a result document that say how much it is worth: "environment" before and now, "energy", "validity".

        `complete`: whether all was measured that was asked for.
        """
        after = snapshot()
        return {
            "environment": {"before": self.before, "after": after},
            **energy_facts(self.recorder, self.unread, self.runs),
            "validity": validity(replace(self.runs, interrupted=not complete), self.before, after),
        }


def chosen_by(asked: Threads, *, auto: bool) -> Literal["asked", "measured", "target"]:
    """Who chose the number of threads, as results say it. `auto`: it was found out on this machine, or would be if none were asked for."""
    if type(asked) is int:
        return "asked"
    return "measured" if auto else "target"


def fixed_lengths(most: int) -> list[int]:
    """LENGTHS, capped by the longest input of a model; none where `most` is 0, as of images, which have one size."""
    return sorted({min(length, most) for length in LENGTHS} if most else ())


def take(
    specs: Mapping[str, dict[str, Any]],
    protocol: Protocol,
    *,
    provider: str,
    progress: Progress,
    compared: Collection[str] = (),
) -> Measurement:
    """Measure the variants that `specs` specify, and memory where MEMORY is among them; `provider`: where they compute;
    `compared`: those whose failure is noted and ends nothing.

    After Ctrl-C the measurement holds the processes that were complete.

    Raises:
        CheckFailed, BadInput, NotPossibleHere: a process failed, see `run_children`.
        Interrupted: Ctrl-C before there was a complete process of anything that was asked for.
    """
    before = snapshot()
    meters, unread = find_meters(provider)
    with Recorder(meters) as recorder:
        runs = run_children(specs, processes=protocol.processes, seed=protocol.seed, progress=progress, compared=compared)
    reads = [child["gb_per_second"] for child in runs.children.pop(MEMORY, [])]
    if not runs.measured() or (MEMORY in specs and not reads):
        raise Interrupted
    return Measurement(runs, reads, before, recorder, unread)
