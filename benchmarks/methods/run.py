"""Make and measure the grid: `python benchmarks/methods/run.py clinc150 wnut17 stsb squad` (or `make methods`).

With `--post-training` the cells that train are left out, which takes minutes a task instead of hours. With `--minutes N` nothing new is
begun after so long; what was made, now or earlier, is measured, and the page names the rest.

Every cell goes through the store, so a second run makes only what is new. Latency is taken of all cells of a task in one
interleaved run, together with ONNX Runtime fp32 and off-the-shelf INT8 of the same original.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cells import CELLS, SEEDS, TASKS, Cell
from page import write_page
from rich.console import Console

from edgekit.bench.run import _items
from edgekit.bench.variants import files_of, specifications
from edgekit.console import Show
from edgekit.errors import EdgekitError
from edgekit.host import detect
from edgekit.pipeline import run_recipe
from edgekit.runtime.environment import snapshot
from edgekit.runtime.statistics import ratio_interval
from edgekit.runtime.supervise import run_children, scenario_facts, validity
from edgekit.target import best_target

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"
BUILD = Path("build")
PROTOCOL: dict[str, Any] = {"processes": 5, "seconds": 0.3, "min_runs": 60, "max_warmup_seconds": 0.8}
BASES = ("ort-fp32", "ort-int8-stock")


def recipe_text(base: Path, cell: Cell, seed: int) -> str:
    """The cell's recipe: the base's task, model and data with paths made absolute, and what the cell changes."""
    document = tomllib.loads(base.read_text(encoding="utf-8"))
    document["seed"] = seed
    document["model"] = {**document["model"], "id": _absolute(document["model"]["id"], base)}
    document["data"] = {
        name: [_absolute(one, base) for one in value] if isinstance(value, list) else _absolute(value, base)
        for name, value in document["data"].items()
    }
    document["compress"] = document.get("compress", []) if cell.whole else [dict(step) for step in cell.compress]
    document["accept"] = {}
    if cell.quantize:
        document["quantize"] = {**best_target(detect()).quantize.model_dump(exclude_none=True), **cell.quantize}
    if cell.calibration:
        document["calibration"] = cell.calibration
    return _toml(document)


def _absolute(value: str, base: Path) -> str:
    name, mark, column = value.partition("#")
    path = (base.parent / name).resolve()
    return f"{path}{mark}{column}" if path.exists() else value


def _toml(document: dict[str, Any], path: str = "") -> str:
    """`document` as TOML: plain values first, then its tables, then its lists of tables."""
    of_tables = [name for name, value in document.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    tables = [name for name, value in document.items() if isinstance(value, dict)]
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in document.items() if name not in {*of_tables, *tables}]
    lines += [f"[{path}{name}]\n{_toml(document[name], f'{path}{name}.')}" for name in tables]
    lines += [f"[[{path}{name}]]\n{_toml(one, f'{path}{name}.')}" for name in of_tables for one in document[name]]
    return "".join(lines)


def make(task: str, recipe: str, chosen: list[Cell], console: Console, until: float) -> dict[str, Any]:
    """Make the cells of `task`, new ones before the clock shows `until`, then measure all together; returns the result document."""
    target = best_target(detect()).name
    base = ROOT / "recipes" / f"{recipe}.toml"
    folder = BUILD / "methods"
    folder.mkdir(parents=True, exist_ok=True)
    cells: dict[str, dict[str, Any]] = {}
    failed: list[dict[str, str]] = []
    given = "finetune" not in tomllib.loads(base.read_text(encoding="utf-8"))["model"]
    again = [cell for cell in chosen if cell.trains and given]
    # Further seeds come after all cells, so that they are what `--minutes` cuts off first.
    for seed, cell in [(SEEDS[0], cell) for cell in chosen] + [(seed, cell) for seed in SEEDS[1:] for cell in again]:
        slug = "".join(letter if letter.isalnum() else "-" for letter in f"{task} {cell.name} {seed}").strip("-").lower()
        if time.monotonic() >= until and not (BUILD / f"{slug}-{target}" / "lineage.json").is_file():
            continue
        path = folder / f"{slug}.toml"
        path.write_text(recipe_text(base, cell, seed), encoding="utf-8")
        console.print(f"[bold]{task}: {cell.name}, seed {seed}")
        try:
            (result,) = run_recipe(str(path), [target], BUILD, measure=False, show=Show(silent=True))
        except EdgekitError as fault:
            failed.append({"name": cell.name, "why": fault.text()})
            console.print(fault.text())
            continue
        cells[slug] = {"cell": cell, "seed": seed, "folder": result.path}
    found = {one["cell"].name for one in cells.values()} | {one["name"] for one in failed}
    left_out = [cell.name for cell in CELLS if cell.name not in found]
    return {**measure(cells, target), "task": task, "failed": failed, "left_out": left_out}


def measure(cells: dict[str, dict[str, Any]], target: str) -> dict[str, Any]:
    """Time all cells and the baselines in one interleaved run."""
    variants: dict[str, Any] = {}
    for slug, one in cells.items():
        one["lineage"] = json.loads((one["folder"] / "lineage.json").read_text(encoding="utf-8"))
        variants[slug] = one["lineage"]["variants"]["bundle"]
    first = next(iter(cells.values()))["lineage"]
    variants |= {name: first["variants"][name] for name in BASES}
    threads = first["target"]["session"]["threads"]
    common = {name: PROTOCOL[name] for name in ("seconds", "min_runs", "max_warmup_seconds")}
    before = snapshot()
    with tempfile.TemporaryDirectory() as aside:
        items = Path(aside) / "items.jsonl"
        items.write_text(_items(first), encoding="utf-8")
        specs, _ = specifications({**first, "variants": variants}, items, {**common, "threads": threads, "scenarios": ["real"]})
        with Show().stage("measure all cells") as progress:
            runs = run_children(specs, processes=PROTOCOL["processes"], seed=7, progress=progress)
    found = []
    for slug, variant in variants.items():
        facts = scenario_facts(runs, slug, 7)
        real = facts["scenarios"][0]
        entry = {
            "quality": variant["quality"], **files_of(variant), "p50_ms": real["p50_ms"], "ci95_ms": real["ci95_ms"],
            "peak_mb": facts["memory"]["peak_mb"],
            "against_stock": ratio_interval(runs.samples("ort-int8-stock", "real"), runs.samples(slug, "real"), 7),
        }  # fmt: skip
        if slug in cells:
            one = cells[slug]
            names = {step["method"] for step in one["lineage"]["recipe"]["compress"]}
            steps = [stage for stage in one["lineage"]["stages"] if stage["stage"] in names]
            entry |= {
                **asdict(one["cell"]), "seed": one["seed"], "seconds": round(sum(stage["seconds"] for stage in steps), 1),
                "archive_mb": (one["folder"] / "bundle.tar.gz").stat().st_size / 1e6,
            }  # fmt: skip
        else:
            entry |= {"name": variant["title"], "group": "baseline", "seconds": 0.0}
        found.append(entry)
    return {
        "command": "make methods", "target": target, "host": detect().document(), "protocol": {**PROTOCOL, "threads": threads},
        "cells": found, "validity": validity(runs, before, snapshot()),
    }  # fmt: skip


def main() -> int:
    """Make the grids of the tasks asked for, or of all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", choices=TASKS, help="left out: all")
    parser.add_argument("--post-training", action="store_true", help="leave out the cells that train")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing new after so long")
    asked = parser.parse_args()
    until = time.monotonic() + 60 * asked.minutes
    chosen = [cell for cell in CELLS if not (asked.post_training and cell.trains)]
    for task in asked.tasks or TASKS:
        document = make(task, TASKS[task], chosen, Console(), until)
        (RESULTS / f"{task}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())
