"""The bundle and its nearest rivals under requests that do not wait for one another, in one process each."""

from __future__ import annotations

from typing import Any

from edgekit.bench.variants import BUNDLE
from edgekit.progress import Progress
from edgekit.runtime.bench.supervise import run_children

__all__ = ["traffic"]

RIVALS = ("ort-fp32", "ort-int8-stock", BUNDLE)
WANTED = {"seconds": 1.5, "hertz": [1, 10, 30], "load": 0.5}
"""Paced at these rates, Poisson arrivals at this share of one client's rate, each for so long (at least three requests)."""


def traffic(specs: dict[str, dict[str, Any]], cores: int, seed: int, progress: Progress) -> tuple[list[dict[str, Any]], bool]:
    """For each of RIVALS that is in `specs`, {"name", "clients": [...], "poisson": {...}, "paced": [...]}; and whether all is there.

    Figures of one process each: what a second client or waiting costs is far more than what processes differ by. After
    Ctrl-C, those that were complete.
    """
    clients = sorted({1, 2, cores, 2 * cores})
    chosen = {
        name: {**specs[name], "scenarios": [], "traffic": {**WANTED, "clients": clients}} for name in RIVALS if name in specs
    }
    runs = run_children(chosen, processes=1, seed=seed, progress=progress)
    return [{"name": name, **runs.children[name][0]["traffic"]} for name in runs.measured()], not runs.interrupted
