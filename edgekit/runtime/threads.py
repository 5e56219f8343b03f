"""How many threads answer fastest on this machine: found out by answering, once for a bundle and a chip."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from edgekit.runtime.arguments import a_whole_number
from edgekit.runtime.bundle.known import known_number, remember_number
from edgekit.runtime.chip import parse_cpuinfo, read_text
from edgekit.runtime.errors import BadInput
from edgekit.runtime.providers.session import own_cores

__all__ = ["AUTO", "Threads", "best_threads", "parse_threads"]

AUTO: Literal["auto"] = "auto"
Threads = int | Literal["auto"] | None
"""How many; "auto": what is fastest here; None: as the bundle's target says."""
LONGEST = 18
"""Digits of a number of threads."""
WORTH = 0.05
"""Share of the time that more threads must save: fewer leave cores to others."""
RUNS = 5
SECONDS = 0.3
"""Each number of threads is timed for so many runs and so long, after one that does not count."""


def parse_threads(given: object, *, written: bool = False) -> Threads:
    """`threads`, as callers give it; `written`: as text on a command line.

    Raises:
        BadInput: no whole number from 1, and not "auto".
    """
    if given is None:
        return None
    if given == AUTO:
        return AUTO
    if written and isinstance(given, str):
        if not given.strip().isdecimal() or len(given) > LONGEST:
            raise BadInput(f'{given[:40]!r} is not a whole number from 1, nor "auto"', where="threads")
        given = int(given)
    return a_whole_number(given, "threads", least=1)


def best_threads(digest: str, begin: Callable[[int], Callable[[], object]]) -> int:
    """The fewest threads that are at most 5% slower than the fastest, for the bundle of `digest`; remembered for this chip and its cores.

    `begin`: a number of threads -> something to be done, that is done again and again.
    """
    cores = own_cores()
    if cores == 1:
        return 1
    chip = f"{parse_cpuinfo(read_text(Path('/proc/cpuinfo'))).model}, {cores} cores"
    known = known_number(digest, "threads", chip)
    if known is not None and 1 <= known <= cores:
        return known
    powers = [1 << power for power in range(cores.bit_length()) if 1 << power <= cores]
    times = {count: _time(begin(count)) for count in sorted({*powers, cores})}
    best = min(count for count, seconds in times.items() if seconds <= (1 + WORTH) * min(times.values()))
    remember_number(digest, "threads", chip, best)
    return best


def _time(work: Callable[[], object]) -> float:
    """Seconds of one run, the median of several."""
    work()
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < RUNS or time.perf_counter() - begun < SECONDS:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
