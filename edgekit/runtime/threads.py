"""How many threads answer fastest on this machine: found out by answering, once for a bundle and a chip."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np

from edgekit.runtime.arguments import a_whole_number
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.chip import parse_cpuinfo, read_text, usable_cores
from edgekit.runtime.errors import BadInput
from edgekit.runtime.providers.names import AUTO

__all__ = ["Begin", "Threads", "best_threads", "fastest", "parse_threads"]

Threads = int | Literal["auto"] | None
"""How many; "auto": what is fastest here; None: as the bundle's target says."""
LONGEST = 18
"""Digits of a number of threads."""
A_CORE, ANYWHERE = 4, 16
"""Threads or workers that may be asked for: so many for each core of the machine, and as many as this on a smaller one. No more ever pay, and
each worker takes the memory of a model."""
WORTH = 0.15
"""Share of the time that more threads must save each time, or fewer are used: noise must not choose, and fewer leave cores to others."""
RUNS = 5
SECONDS = 0.3
"""Each number of threads is timed for so many runs and so long, after one that does not count."""
DISTURBED = 25.0
"""Times a second that other programs take a core away, from which on what was found out is not remembered."""
Begin = Callable[[int], Callable[[], object]]
"""A number of threads -> something to be done, that is done again and again."""


def parse_threads(given: object, *, written: bool = False, name: str = "threads", here: bool = True) -> Threads:
    """A number of threads, or of whatever `name` says, as callers give it; `written`: as text on a command line; `here`: for this machine.

    Raises:
        BadInput: no whole number from 1, and not "auto", or more than are of any use on this machine.
    """
    if given is None:
        return None
    if given == AUTO:
        return AUTO
    if written and isinstance(given, str):
        if not given.strip().isdecimal() or len(given) > LONGEST:
            raise BadInput(f'{given[:40]!r} is not a whole number from 1, nor "auto"', where=name)
        given = int(given)
    number, cores = a_whole_number(given, name, least=1), os.cpu_count() or 1
    if here and number > (most := max(ANYWHERE, A_CORE * cores)):
        raise BadInput(
            f"{number:,} are of no use: this machine has {cores} core{'s' * (cores > 1)}", where=name,
            fix=f'give a number up to {most}, of which more than {cores} gain nothing, or "{AUTO}"',
        )  # fmt: skip
    return number


def best_threads(bundle: Bundle, begin: Begin) -> int:
    """The number of threads that answers fastest for `bundle` on the cores that this process may use; remembered beside it for this chip.

    1, 2, 4 … and all of the cores are tried in turn, for as long as each saves 15% of the time of the one before. Each that does is tried
    once more, after the one before: it must save as much in its slower trial against the faster one of the other. What was found out while
    other programs took the cores away is used and not remembered.
    """
    chip = parse_cpuinfo(read_text(Path("/proc/cpuinfo")))
    cores = usable_cores(chip.physical or os.cpu_count() or 1)
    if cores == 1:
        return 1
    from edgekit.runtime.bundle.trials import Trial, earlier_trial, keep_trial  # here alone: most loads are told how many

    known = earlier_trial(bundle, chip.model, cores)
    if known is not None and known.threads <= cores:
        return known.threads
    best, trials, calm = fastest(cores, begin)
    if calm:
        milliseconds = {str(count): round(1000 * min(seconds), 4) for count, seconds in trials.items()}
        keep_trial(bundle, Trial(chip.model, cores, best, milliseconds))
    return best


def fastest(cores: int, begin: Begin) -> tuple[int, dict[int, list[float]], bool]:
    """(the best number of threads, seconds of each trial of each number, whether all were undisturbed and agree)."""
    counts = sorted({*(1 << power for power in range(cores.bit_length()) if 1 << power <= cores), cores})
    trials: dict[int, list[float]] = {}
    calm = True

    def tried(count: int) -> None:
        nonlocal calm
        seconds, undisturbed = _time(begin(count))
        trials.setdefault(count, []).append(seconds)
        calm = calm and undisturbed

    def pays(more: int, fewer: int) -> bool:
        return max(trials[more]) <= (1 - WORTH) * min(trials[fewer])

    best = 0
    tried(counts[0])
    for place, count in enumerate(counts[1:]):
        tried(count)
        if not pays(count, counts[place]):
            break
        best = place + 1
    while best > 0:
        tried(counts[best - 1])
        tried(counts[best])
        if pays(counts[best], counts[best - 1]):
            break
        best, calm = best - 1, False
    return counts[best], trials, calm


def _time(work: Callable[[], object]) -> tuple[float, bool]:
    """(seconds of one run, a quarter of which take less; whether no other programs took the cores away)."""
    work()
    taken: list[float] = []
    begun, pushed = time.perf_counter(), _pushed_aside()
    while len(taken) < RUNS or time.perf_counter() - begun < SECONDS:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    calm = _pushed_aside() - pushed <= DISTURBED * (time.perf_counter() - begun)
    return float(np.quantile(taken, 0.25)), calm


def _pushed_aside() -> int:
    """How often this process lost a core that it had work for; 0 where the system does not say."""
    with suppress(ImportError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    return 0
