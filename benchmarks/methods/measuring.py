"""All cells of a task and their baselines in one interleaved run of fresh processes."""

from __future__ import annotations

import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit.bench.run import _items
from edgekit.bench.variants import files_of, seen_from_here, specifications
from edgekit.host import detect
from edgekit.progress import Show
from edgekit.runtime.bench.environment import snapshot
from edgekit.runtime.bench.statistics import ratio_interval
from edgekit.runtime.bench.supervise import Progress, Runs, run_children, scenario_facts, validity

__all__ = ["PROTOCOL", "entries", "measure", "read_lineage", "run_rounds"]

PROTOCOL: dict[str, Any] = {"processes": 5, "seconds": 0.3, "min_runs": 60, "max_warmup_seconds": 0.8}
BASES = ("ort-fp32", "ort-int8-stock")


def read_lineage(folder: Path) -> dict[str, Any]:
    """What a result folder says about how it was made."""
    return seen_from_here(json.loads((folder / "lineage.json").read_text(encoding="utf-8")), folder)


def run_rounds(specs: dict[str, Any], at_once: int, progress: Progress) -> Runs:
    """The measurement's rounds, each with every variant once, shuffled; `at_once` of them side by side, each on a core of its own.

    The cores are as far apart as there are, since neighbours are often two threads of one core.
    """
    if at_once == 1:
        return run_children(specs, processes=PROTOCOL["processes"], seed=7, progress=progress)
    usable = sorted(os.sched_getaffinity(0))
    cores = usable[:: max(1, len(usable) // at_once)][:at_once]
    count = len(cores)

    def settle() -> None:
        os.sched_setaffinity(0, {cores.pop()})  # of this thread, for good, and of the processes that it starts

    def one(turn: int) -> Runs:
        return run_children(specs, processes=1, seed=7 + turn, progress=progress if turn == 0 else lambda *_: None)

    with ThreadPoolExecutor(count, initializer=settle) as pool:
        rounds = list(pool.map(one, range(PROTOCOL["processes"])))
    return Runs({name: [child for found in rounds for child in found.children[name]] for name in specs})


def entries(cells: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is known of each cell and baseline without timing it: quality, sizes, what it changes and how long it took, by slug."""
    for one in cells.values():
        one["lineage"] = read_lineage(one["folder"])
    found: dict[str, dict[str, Any]] = {}
    for slug, one in cells.items():
        variant = one["lineage"]["variants"]["bundle"]
        names = {step["method"] for step in one["lineage"]["recipe"]["compress"]}
        steps = [stage for stage in one["lineage"]["stages"] if stage["stage"] in names]
        found[slug] = {
            "quality": variant["quality"], **files_of(variant), **asdict(one["cell"]), "seed": one["seed"],
            "seconds": round(sum(stage["seconds"] for stage in steps), 1),
            "archive_mb": (one["folder"] / "bundle.tar.gz").stat().st_size / 1e6,
        }  # fmt: skip
    first = next(iter(cells.values()))["lineage"]
    for name in BASES:
        variant = first["variants"][name]
        found[name] = {
            "quality": variant["quality"], **files_of(variant), "name": variant["title"], "group": "baseline", "seconds": 0.0,
        }  # fmt: skip
    return found


def measure(cells: dict[str, dict[str, Any]], target: str, at_once: int) -> dict[str, Any]:
    """Time all cells and the baselines in one interleaved run; of cells with several seeds the first, which has the others' shape.

    With `at_once` 0 nothing is timed, and the document has neither times nor a protocol.
    """
    found = entries(cells)
    document = {"target": target, "host": detect().document()}
    if at_once == 0:
        return {**document, "cells": list(found.values())}
    first = next(iter(cells.values()))["lineage"]
    timed: dict[str, str] = {}
    for slug, one in cells.items():
        timed.setdefault(one["cell"].name, slug)
    variants = {slug: cells[slug]["lineage"]["variants"]["bundle"] for slug in timed.values()}
    variants |= {name: first["variants"][name] for name in BASES}
    threads = first["target"]["session"]["threads"]
    common = {name: PROTOCOL[name] for name in ("seconds", "min_runs", "max_warmup_seconds")}
    before = snapshot()
    with tempfile.TemporaryDirectory() as aside:
        items = Path(aside) / "items.jsonl"
        items.write_text(_items(first), encoding="utf-8")
        specs, _ = specifications({**first, "variants": variants}, items, {**common, "threads": threads, "scenarios": ["real"]})
        with Show().stage("measure all cells") as progress:
            runs = run_rounds(specs, at_once, progress)
    for slug in variants:
        facts = scenario_facts(runs, slug, 7)
        real = facts["scenarios"][0]
        found[slug] |= {
            "p50_ms": real["p50_ms"], "ci95_ms": real["ci95_ms"], "peak_mb": facts["memory"]["peak_mb"],
            "against_stock": ratio_interval(runs.samples("ort-int8-stock", "real"), runs.samples(slug, "real"), 7),
        }  # fmt: skip
    return {
        **document, "protocol": {**PROTOCOL, "threads": threads, "rounds_at_once": at_once},
        "cells": list(found.values()), "validity": validity(runs, before, snapshot()),
    }  # fmt: skip
