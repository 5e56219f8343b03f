"""The search's sampler against random draws, over recorded recipes: `python -m benchmarks.tune.lookup`.

Nothing is trained. What is drawn is a cell of the grid of methods (`benchmarks/methods/results`), by its family of steps first and
by its settings then; what it comes to is what was recorded of it: quality on test rows, milliseconds from text to answer, megabytes. So
it says how soon a sampler finds a front in a small space of real figures, and nothing about the space that `edgekit tune` itself
draws from, which is far larger.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

from benchmarks.pages import write_results
from benchmarks.tune.page import HERE, hypervolume, write_page
from edgekit.config.search import Choice
from edgekit.draft.proven import PROVEN
from edgekit.tuner import study as tuner_study
from edgekit.tuner.front import Sampler, Values
from edgekit.tuner.study import STARTUP, claim, open_study, suggest
from edgekit.tuner.workers import at_work

__all__ = ["cells_of", "main"]

GRID = HERE.parent / "methods" / "results"
TASKS = ("squad", "stsb")
OWN = "tpe after the proven chains, as `edgekit tune` does"
FURTHEST = "all steps of the recipe"
"""The cell of what came furthest on its task, with which a search begins."""
CHAINS = tuple(one.cell for one in PROVEN)
WAYS: Mapping[str, tuple[Sampler, int, Sequence[str]]] = {
    "random draws": ("random", STARTUP, ()),
    "tpe": ("tpe", STARTUP, ()),
    OWN: ("tpe", STARTUP, (FURTHEST, *reversed(CHAINS))),
    "tpe after the proven chains, ten at random": ("tpe", 10, (FURTHEST, *reversed(CHAINS))),
    "tpe after the proven chains, from the least work to the most": ("tpe", STARTUP, (*CHAINS, FURTHEST)),
    "tpe, ten at random": ("tpe", 10, ()),
    "nsga2, whose first 20 are at random": ("nsga2", STARTUP, ()),
}
"""Name -> (sampler, trials before the first that is drawn by what came of others, the cells that it begins with)."""
AT = (5, 10, 15, 20)
MOST_DRAWS = 10
"""Draws for each recipe that is to be looked at, after which nothing new is expected."""


def cells_of(task: str) -> dict[str, dict[str, Values]]:
    """Family of steps -> name of a recorded cell -> (quality, cost, size), each from 0 to 1: 1 is the best quality, and the worst cost and size."""
    cells = json.loads((GRID / f"{task}.json").read_text())["cells"]
    timed = {one["name"]: one for one in cells if one.get("p50_ms") and "compress" in one and not one.get("second")}
    ends = [
        (min(figures), max(figures))
        for figures in zip(
            *([one["quality"]["value"], math.log(one["p50_ms"]), one["total_mb"]] for one in timed.values()), strict=True
        )
    ]
    found: dict[str, dict[str, Values]] = {}
    for name, one in timed.items():
        family = (
            "; ".join(step["method"] for step in one["compress"])
            or f"{one['quantize'].get('format', one['quantize'].get('mode', 'dynamic'))}"
        )
        quality, cost, size = (
            (figure - low) / (high - low)
            for figure, (low, high) in zip(
                (one["quality"]["value"], math.log(one["p50_ms"]), one["total_mb"]), ends, strict=True
            )
        )
        found.setdefault(family, {})[name] = (quality, cost, size)
    return found


def run(
    cells: Mapping[str, Mapping[str, Values]], sampler: Sampler, seed: int, recipes: int, startup: int, starts: Sequence[str]
) -> tuple[list[float], int]:
    """(the hypervolume after each recipe that was not looked at before, how many draws that took).

    A recipe that is drawn again costs `edgekit tune` nothing, so that it counts as no trial here either.
    """
    values: list[Values] = []
    found: list[float] = []
    fixed = [{"family": family, family: name} for name in starts for family, members in cells.items() if name in members]
    draws = 0
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside)
        study = open_study(str(folder / "journal"), folder, "lookup", {"seed": seed})
        with at_work(study, folder, shared=False) as worker, patch.object(tuner_study, "STARTUP", startup):
            while len(found) < recipes and draws < MOST_DRAWS * recipes:
                draws += 1
                trial = claim(study, worker, seed, sampler, fixed).trial
                draw = suggest(trial)
                family = str(draw("family", Choice(tuple(cells))))
                come_to = cells[family][str(draw(family, Choice(tuple(cells[family]))))]
                study.tell(trial, come_to)
                if come_to not in values:
                    values.append(come_to)
                    found.append(hypervolume(values))
    return found + found[-1:] * (recipes - len(found)), draws


def main() -> None:
    """Write lookup.json and the page."""

    parser = argparse.ArgumentParser()
    parser.add_argument("--recipes", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "lookup.json")
    chosen = parser.parse_args()
    tasks: dict[str, Any] = {}
    for task in TASKS:
        cells = cells_of(task)
        whole = hypervolume([values for members in cells.values() for values in members.values()])
        runs = {
            way: [run(cells, sampler, seed, chosen.recipes, startup, chains) for seed in range(chosen.seeds)]
            for way, (sampler, startup, chains) in WAYS.items()
        }
        curves = {way: [[volume / whole for volume in curve] for curve, _ in several] for way, several in runs.items()}
        goal = mean(curve[-1] for curve in curves["random draws"])
        tasks[task] = {
            "cells": sum(map(len, cells.values())), "families": len(cells), "goal": goal,
            "ways": {
                way: {
                    "share": {str(at): mean(curve[at - 1] for curve in several) for at in AT if at <= chosen.recipes},
                    "draws": [draws for _, draws in runs[way]],
                    "recipes_to_goal": [next((number for number, share in enumerate(curve, 1) if share >= goal), None) for curve in several],
                    "curves": [[round(share, 4) for share in curve] for curve in several],
                }
                for way, several in curves.items()
            },
        }  # fmt: skip
    document = {
        "command": f"python -m benchmarks.tune.lookup --recipes {chosen.recipes} --seeds {chosen.seeds}",
        "recipes": chosen.recipes,
        "seeds": chosen.seeds,
        "optuna": metadata.version("optuna"),
        "tasks": tasks,
    }
    write_results(chosen.out, document)
    write_page(chosen.out, chosen.out.with_name("README.md"))


if __name__ == "__main__":
    main()
