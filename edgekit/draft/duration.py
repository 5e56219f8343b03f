"""How long a line will take here, by what it computes and by how fast this machine is at the moment."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass

from edgekit.draft.proven import USE, Workload
from edgekit.progress import spent
from edgekit.tasks import Kind

__all__ = ["Machine", "about", "line_seconds", "measured_machine"]

REFERENCE = 0.0127
"""CPU seconds of `_work` on the machine where the constants of `edgekit.draft.proven` were found: one core of an AMD EPYC."""
START: dict[Kind, float] = {"encoder": 30.0, "decoder": 30.0}
"""CPU seconds there of a line with a tiny model: libraries that are loaded in the processes that export, compare and measure."""
A_MEGABYTE = 0.11
"""CPU seconds there for each of the model in float32, which is read, exported, hashed and written a few times."""
VARIANTS = {"encoder": 1.6, "decoder": 2.5}
"""Times that scoring takes as long as that of the float32 graph alone, on one core: those in 8 bits are faster."""
MATRIX, STACK = 64, 32
"""Rows and columns of the products that are timed, and how many at a time: on one core each, as larger ones wait for threads on a busy machine."""


@dataclass(frozen=True)
class Machine:
    """A machine as it is now, with whatever else runs on it."""

    slower: float
    """Times as long as there a fixed piece of work takes."""
    flops: float
    """Operations a second of a float32 matrix product on all cores, in what this process gets of them."""
    cores: int


def measured_machine() -> Machine:
    """A third of a second of measuring: plain Python in CPU time, the matrix product at its best of a few, and what others take of both.

    What others take is between what they took of this third of a second and what the load of the last minute says: either alone was off by
    three times on a busy machine.
    """
    import numpy as np

    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(5):
        _work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    stack, best, end = np.ones((STACK, MATRIX, MATRIX), np.float32), math.inf, time.perf_counter() + 0.1
    while best == math.inf or time.perf_counter() < end:
        start = time.perf_counter()
        stack @ stack
        best = min(best, time.perf_counter() - start)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    shared = math.sqrt(max(1.0, wall / max(cpu, 1e-9)) * max(1.0, (load + 1) / cores))
    return Machine(shared * cpu / 5 / REFERENCE, 2 * STACK * MATRIX**3 * cores / best / shared, cores)


def line_seconds(kind: Kind, work: Workload, machine: Machine) -> float:
    """From a recipe to a measured bundle, but for compression: what is loaded and written, and every variant's answers to the scored rows."""
    scoring = VARIANTS[kind] * 2 * work.parameters * work.tokens * work.scored / (USE * machine.flops / machine.cores)
    return machine.slower * (START[kind] + A_MEGABYTE * work.megabytes) + scoring


def about(seconds: float) -> str:
    """A time as an estimate: to 10 s, to minutes, or to quarters of an hour."""
    step = 10 if seconds < 90 else 60 if seconds < 3600 else 900
    return f"about {spent(max(1, round(seconds / step)) * step).removesuffix(' 0 s').removesuffix(' 0 min')}"


def _work() -> int:
    """Nothing of use."""
    total = 0
    for number in range(300_000):
        total += number * number % 7
    return total
