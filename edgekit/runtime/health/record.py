"""Energy over a benchmark: every meter read in the supervisor ten times a second, and assigned to the windows that were timed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgekit.runtime.health import ina3221, nvml, rapl
from edgekit.runtime.health.meter import Meter
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.providers.names import CPU

__all__ = ["Recorder", "energy_block", "find_meters"]

PERIOD_SECONDS = 0.1
IDLE_SECONDS = 1.0
"""Idle power is measured for so long before the first process."""
LEAST_SECONDS = 0.3
"""Shorter windows hold too few readings."""
Window = Sequence[int]
"""(start, end in nanoseconds of CLOCK_MONOTONIC, inferences in between)."""


def monotonic_ns() -> int:
    """Nanoseconds of CLOCK_MONOTONIC, which every process of this machine shares."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def find_meters(provider: str, root: Path = Path("/")) -> tuple[list[Meter], list[str]]:
    """(meters of the hardware that this execution provider uses, reasons why others are missing); GPUs only for a GPU provider."""
    known: list[Meter] = []
    reasons = []
    on_gpu = [] if provider == CPU else [nvml.meters()]
    for meters, reason in (rapl.meters(root), ina3221.meters(root), *on_gpu):
        known += meters
        reasons += [reason] if reason else []
    return known, reasons


class Recorder:
    """Joules of each meter over time. A context manager: it measures idle power first, then records until it is left.

    Without meters it does nothing and takes no time.
    """

    def __init__(
        self, meters: list[Meter], *, idle_seconds: float = IDLE_SECONDS, period: float = PERIOD_SECONDS,
        clock: Callable[[], int] = monotonic_ns, sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        """`clock`: the moment in nanoseconds, which dates each reading; `sleep` passes the seconds between those of idle power."""
        self.meters, self.idle_seconds, self.period = meters, idle_seconds, period
        self._clock, self._sleep = clock, sleep
        self.times: list[list[int]] = [[] for _ in meters]
        self.joules: list[list[float]] = [[] for _ in meters]
        self.idle_watts: list[float | None] = [None for _ in meters]
        self._last: list[float | None] = [None for _ in meters]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="energy", daemon=True)

    def __enter__(self) -> Recorder:
        if self.meters:
            until = self._clock() + round(self.idle_seconds * 1e9)
            self.read(self._clock())
            while self._clock() < until:
                self._sleep(self.period)
                self.read(self._clock())
            self.idle_watts = [_mean_watts(times, joules) for times, joules in zip(self.times, self.joules, strict=True)]
            self._thread.start()
        return self

    def __exit__(self, *fault: object) -> None:
        if self.meters:
            self._stop.set()
            self._thread.join()

    def read(self, now_ns: int) -> None:
        """Take one reading of each meter; `now_ns` is the moment of it."""
        for index, meter in enumerate(self.meters):
            value = meter.read()
            last = self._last[index]
            if value is None or not math.isfinite(value):
                continue
            times, joules = self.times[index], self.joules[index]
            if last is None:
                joules.append(0.0)
            elif meter.counts:
                step = value - last
                joules.append(joules[-1] + (step + (meter.wraps_joules or 0.0) if step < 0 else step))
            else:
                joules.append(joules[-1] + (value + last) / 2 * (now_ns - times[-1]) / 1e9)
            times.append(now_ns)
            self._last[index] = value

    def between(self, index: int, start_ns: int, end_ns: int) -> float | None:
        """Joules of meter `index` between two moments; None where it was not read around both."""
        times = self.times[index]
        if len(times) < 2 or start_ns < times[0] or end_ns > times[-1]:
            return None
        low, high = np.interp([start_ns, end_ns], times, self.joules[index])
        return float(high - low)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.read(self._clock())
            self._stop.wait(self.period)
        self.read(self._clock())


def _mean_watts(times: Sequence[int], joules: Sequence[float]) -> float | None:
    """Of the readings so far; None where there are fewer than two."""
    return (joules[-1] - joules[0]) / ((times[-1] - times[0]) / 1e9) if len(times) > 1 else None


def energy_block(recorder: Recorder, windows: Mapping[str, Mapping[str, Iterable[Window]]]) -> JsonObject | None:
    """The document's "energy": millijoules for each inference by variant, scenario and meter; None where no window was long enough.

    `windows`: variant -> scenario -> windows of all its processes. "above_idle_mj" is without the idle power.
    """
    by_variant: dict[str, dict[str, JsonObject]] = {}
    for variant, scenarios in windows.items():
        for scenario, cut in scenarios.items():
            long = [window for window in cut if window[1] - window[0] >= LEAST_SECONDS * 1e9 and window[2] > 0]
            figures = {}
            for index, meter in enumerate(recorder.meters):
                spent = [(recorder.between(index, start, end), end - start, runs) for start, end, runs in long]
                known = [(joules, length / 1e9, runs) for joules, length, runs in spent if joules is not None]
                if not known:
                    continue
                joules, seconds, runs = (sum(column) for column in zip(*known, strict=True))
                idle = recorder.idle_watts[index]
                figures[meter.name] = {
                    "per_inference_mj": joules / runs * 1000,
                    "above_idle_mj": None if idle is None else (joules - idle * seconds) / runs * 1000,
                    "watts": joules / seconds, "seconds": seconds, "inferences": runs,
                }  # fmt: skip
            if figures:
                by_variant.setdefault(variant, {})[scenario] = figures
    if not by_variant:
        return None
    meters = {
        meter.name: {"scope": meter.scope, "idle_watts": idle}
        for meter, idle in zip(recorder.meters, recorder.idle_watts, strict=True)
    }
    return {"meters": meters, "variants": by_variant}
