"""Medians and intervals for timings from several processes, and for quality on the same rows.

One process proves nothing: processes differ among one another by more than the runs inside each. So an interval resamples
processes first and runs within them second (hierarchical bootstrap; Kalibera and Jones 2013, "Rigorous benchmarking in
reasonable time").
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np

__all__ = ["centre_interval", "paired_difference", "ratio_interval", "spread", "summary"]

ROUNDS = 2000
ENOUGH_FOR_P99 = 662
"""Runs below which the 99th percentile is a guess: n >= 662 puts its 95% interval inside the sample."""
MOST_RUNS = 400
"""Runs of one process that enter the bootstrap, evenly picked: more do not move a median's interval."""


def summary(children: Sequence[Sequence[float]], seed: int) -> dict[str, Any]:
    """Of one variant's runs in milliseconds, a list for each process: n, percentiles, the headline and its interval.

    The headline `p50_ms` is the median of the processes' medians.

    Raises:
        ValueError: no runs, or one that is not finite.
    """
    runs = _checked(children)
    every = np.concatenate(runs)
    low, high = centre_interval(children, seed)
    return {
        "n": len(every),
        "p50_ms": float(np.median([np.median(run) for run in runs])),
        "p90_ms": float(np.percentile(every, 90)),
        "p99_ms": float(np.percentile(every, 99)) if len(every) >= ENOUGH_FOR_P99 else None,
        "ci95_ms": [low, high],
        "children_p50_ms": [round(float(np.median(run)), 5) for run in runs],
    }


def centre_interval(children: Sequence[Sequence[float]], seed: int) -> tuple[float, float]:
    """95% bootstrap interval of the median of process medians."""
    low, high = np.percentile(_bootstrap(_checked(children), np.random.default_rng(seed)), [2.5, 97.5])
    return float(low), float(high)


def ratio_interval(slow: Sequence[Sequence[float]], fast: Sequence[Sequence[float]], seed: int) -> dict[str, Any]:
    """How many times faster `fast` is than `slow`: the ratio of headlines, its interval, and whether that excludes 1."""
    generator = np.random.default_rng(seed)
    one, other = _checked(slow), _checked(fast)
    draws = _bootstrap(one, generator) / _bootstrap(other, generator)
    low, high = np.percentile(draws, [2.5, 97.5])
    ratio = np.median([np.median(run) for run in one]) / np.median([np.median(run) for run in other])
    return {"speedup": float(ratio), "ci95": [float(low), float(high)], "faster": bool(low > 1.0)}


def spread(children: Sequence[Sequence[float]]) -> float:
    """How far the processes' medians lie apart, as a share of their median."""
    medians = [float(np.median(run)) for run in _checked(children)]
    return (max(medians) - min(medians)) / float(np.median(medians))


def paired_difference(original: np.ndarray, other: np.ndarray, seed: int) -> dict[str, Any]:
    """Mean of `other` - `original` over the same rows, float (rows,) each, with a paired bootstrap 95% interval.

    `mcnemar_p` is the exact two-sided p of McNemar's test where scores are 0 or 1, else None.

    Raises:
        ValueError: different rows, none, or a score that is not finite.
    """
    if original.shape != other.shape or original.ndim != 1 or not len(original):
        raise ValueError(f"not the same rows: {original.shape} and {other.shape}")
    change = other.astype(np.float64) - original.astype(np.float64)
    if not np.isfinite(change).all():
        raise ValueError("a score is not finite")
    generator = np.random.default_rng(seed)
    values, counts = np.unique(change, return_counts=True)
    draws = generator.multinomial(len(change), counts / len(change), size=ROUNDS * 5) @ values / len(change)
    low, high = np.percentile(draws, [2.5, 97.5])
    binary = np.isin(original, (0.0, 1.0)).all() and np.isin(other, (0.0, 1.0)).all()
    gained, lost = int((change > 0).sum()), int((change < 0).sum())
    return {
        "difference": float(change.mean()),
        "ci95": [float(low), float(high)],
        "gained": gained,
        "lost": lost,
        "mcnemar_p": _mcnemar(gained, lost) if binary else None,
    }


def _mcnemar(gained: int, lost: int) -> float:
    total = gained + lost
    tail = sum(comb(total, count) for count in range(min(gained, lost) + 1))
    return min(1.0, float(2 * tail / 2**total)) if total else 1.0


def _bootstrap(runs: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """ROUNDS medians of resampled process medians, each from resampled runs; float64 (ROUNDS,)."""
    inner = np.empty((len(runs), ROUNDS))
    for row, run in enumerate(runs):
        picked = run[np.linspace(0, len(run) - 1, min(len(run), MOST_RUNS)).astype(int)]
        draws = generator.integers(0, len(picked), size=(ROUNDS, len(picked)))
        inner[row] = np.median(picked[draws], axis=1)
    which = generator.integers(0, len(runs), size=(ROUNDS, len(runs)))
    return np.asarray(np.median(inner[which, np.arange(ROUNDS)[:, None]], axis=1))


def _checked(children: Sequence[Sequence[float]]) -> list[np.ndarray]:
    runs = [np.asarray(run, dtype=np.float64) for run in children]
    if not runs or any(run.size == 0 for run in runs):
        raise ValueError("a process without runs")
    if not all(np.isfinite(run).all() for run in runs):
        raise ValueError("a timing that is not finite")
    return runs
