"""Variants timed in turn: every round runs each a few times, so that what slows the machine down slows them all down."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

WARM = 5
"""Runs of each variant before the first round: compilation, recording, clocks."""


def interleaved(variants: Mapping[str, Callable[[], object]], *, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Median seconds of a run of each variant in each round; `seconds`: how long a variant runs in a round, 3 to 50 times.

    A variant's function must return when the device is done.
    """
    counts = {}
    for name, run in variants.items():
        for _ in range(WARM):
            run()
        start = time.perf_counter()
        run()
        counts[name] = int(np.clip(seconds / (time.perf_counter() - start), 3, 50))
    found: dict[str, list[float]] = {name: [] for name in variants}
    order = np.random.default_rng(0)
    names = list(variants)
    for _ in range(rounds):
        for name in order.permutation(names):
            found[name].append(median_of(variants[name], counts[name]))
    return found


def median_of(run: Callable[[], object], count: int) -> float:
    samples = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start)
    return float(np.median(samples))


def interval(samples: list[float]) -> list[float]:
    """95% bootstrap interval of the median over rounds."""
    medians = np.median(np.random.default_rng(0).choice(samples, size=(2000, len(samples))), axis=1)
    return [float(value) for value in np.percentile(medians, [2.5, 97.5])]


def summary(samples: list[float], ours: list[float]) -> dict[str, Any]:
    """Milliseconds, and how many times as long as `ours`, round by round."""
    ratios = [other / own for other, own in zip(samples, ours, strict=True)]
    return {
        "ms": 1e3 * float(np.median(samples)), "ms_ci95": [1e3 * value for value in interval(samples)],
        "times_ours": float(np.median(ratios)), "times_ours_ci95": interval(ratios),
    }  # fmt: skip
