"""The search's sampler against random draws, over recorded recipes: `python -m benchmarks.tune.lookup`.

Nothing is trained. What is drawn is a cell of the grid of methods (`benchmarks/methods/results`), by its family of steps first and
by its settings then; what it comes to is what was recorded of it: quality on test rows, milliseconds from text to answer, megabytes. What is known
before a trial is what `edgekit tune` knows: the recipe. So it says how soon a sampler finds a front in a small space of real figures, and nothing
about the space that `edgekit tune` itself draws from, which is far larger.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import mean
from typing import Any

from pydantic import TypeAdapter

from benchmarks.pages import write_results
from benchmarks.tune.modelled import MINILM
from benchmarks.tune.page import HERE, hypervolume, write_page
from edgekit.compress.registry import find_method
from edgekit.config.quantize import Quantize
from edgekit.config.recipe import Recipe
from edgekit.config.search import Choice
from edgekit.draft.proven import PROVEN
from edgekit.plan.recipes import load_recipe
from edgekit.tuner.front import Bounds, Sampler, Values, front
from edgekit.tuner.propose import Drawing, Limits, Propose, propose
from edgekit.tuner.records import SAME
from edgekit.tuner.space import Draw
from edgekit.tuner.study import claim, open_study, suggest
from edgekit.tuner.trial import Original
from edgekit.tuner.under import put_under
from edgekit.tuner.workers import at_work

QUANTIZE: TypeAdapter[Quantize] = TypeAdapter(Quantize)

__all__ = ["cells_of", "main", "recipes_of"]

GRID = HERE.parent / "methods" / "results"
TASKS = ("squad", "stsb")
OWN = "gp after the proven chains, as `edgekit tune` does"
FURTHEST = "all steps of the recipe"
"""The cell of what came furthest on its task, with which a search begins."""
CHAINS = tuple(one.cell for one in PROVEN)
STARTS = (FURTHEST, *reversed(CHAINS))
WAYS: Mapping[str, tuple[Sampler, Sequence[str]]] = {
    "random draws": ("random", ()),
    "random draws after the proven chains": ("random", STARTS),
    "nsga2, whose first 20 are at random": ("nsga2", ()),
    "tpe": ("tpe", ()),
    "tpe after the proven chains": ("tpe", STARTS),
    "gp": ("gp", ()),
    OWN: ("gp", STARTS),
}
"""Name -> (sampler, the cells that it begins with)."""
ASKED = ("random draws", "random draws after the proven chains", "tpe after the proven chains", OWN)
"""Which of these are asked for budgets too."""
LOSE, ROOM = 0.005, 0.05
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


def recipes_of(task: str) -> dict[str, tuple[Recipe, Values]]:
    """Name of a recorded cell -> (its recipe, quality, time as a share of INT8's, megabytes)."""
    bare = load_recipe(task)[2]
    cells = json.loads((GRID / f"{task}.json").read_text())["cells"]
    int8 = next(one["p50_ms"] for one in cells if one["name"] == CHAINS[0])
    return {
        one["name"]: (
            bare.model_copy(update={
                "compress": [find_method(step["method"]).settings.model_validate(step) for step in one["compress"]],
                "quantize": QUANTIZE.validate_python({"format": "int8", **one["quantize"]}),
                "calibration": bare.calibration.model_copy(update=one["calibration"]),
            }),
            (one["quality"]["value"], one["p50_ms"] / int8, one["total_mb"]),
        )
        for one in cells if one.get("p50_ms") and "compress" in one
    }  # fmt: skip


def budgets_of(task: str) -> list[Bounds]:
    """What each cell of the front keeps, with some room, where none that a search begins with does; what may be lost is counted from 1."""
    known = recipes_of(task)
    names = [name for members in cells_of(task).values() for name in members]
    best = [known[names[number]][1] for number in front([known[name][1] for name in names])]
    budgets = [Bounds(1 - quality + LOSE, (1 - ROOM) / cost, size * (1 + ROOM)) for quality, cost, size in best]
    return [bounds for bounds in budgets if not any(_keeps(known[name][1], bounds) for name in STARTS if name in names)]


def _keeps(values: Values, bounds: Bounds) -> bool:
    quality, cost, size = values
    return all(over <= 0 for over in bounds.over(1 - quality, 1 / cost, size).values())


def run(
    task: str,
    sampler: Sampler,
    seed: int,
    recipes: int,
    starts: Sequence[str],
    bounds: Bounds = Bounds(),  # noqa: B008
) -> tuple[list[float], int, int | None]:
    """(the hypervolume after each recipe that was not looked at before, how many draws that took, how many recipes until one keeps `bounds`).

    A recipe that is drawn again costs `edgekit tune` nothing, so that it counts as no trial here either.
    """
    cells, known = cells_of(task), recipes_of(task)
    values: list[Values] = []
    found: list[float] = []
    kept: int | None = None
    fixed = [{"family": family, family: name} for name in starts for family, members in cells.items() if name in members]
    draws = 0

    def drawn(draw: Draw) -> tuple[str, str]:
        family = str(draw("family", Choice(tuple(cells))))
        return family, str(draw(family, Choice(tuple(cells[family]))))

    drawing = Drawing(lambda draw: known[drawn(draw)[1]][0], MINILM, key=_all_of_it, timed=True)
    proposed: Propose = (
        partial(propose, drawing, Limits.under(bounds, 1.0, timed=True)) if sampler == "gp" else lambda before, seed: None
    )
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside)
        study = open_study(str(folder / "journal"), folder, "lookup", {"seed": seed})
        put_under(study, bounds, Original(1.0, 1000, 90.0, 1, Path(), Path(), Path()), timed=True)
        with at_work(study, folder, shared=False) as worker:
            while len(found) < recipes and draws < MOST_DRAWS * recipes and (kept is None or bounds == Bounds()):
                draws += 1
                trial = claim(study, worker, seed, sampler, fixed, proposed).trial
                family, name = drawn(suggest(trial))
                come_to = cells[family][name]
                if come_to in values:
                    trial.set_user_attr(SAME, True)
                study.tell(trial, known[name][1])
                if come_to not in values:
                    values.append(come_to)
                    found.append(hypervolume(values))
                    if kept is None and _keeps(known[name][1], bounds):
                        kept = len(found)
    return found + found[-1:] * (recipes - len(found)), draws, kept


def _all_of_it(recipe: Recipe) -> str:
    """What tells two cells apart, some of them by their calibration alone."""
    return recipe.model_dump_json(include={"compress", "quantize", "calibration"})


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
            way: [run(task, sampler, seed, chosen.recipes, chains) for seed in range(chosen.seeds)]
            for way, (sampler, chains) in WAYS.items()
        }
        curves = {way: [[volume / whole for volume in curve] for curve, *_ in several] for way, several in runs.items()}
        goal = mean(curve[-1] for curve in curves["random draws"])
        tasks[task] = {
            "to_budget": {
                way: [run(task, *asked, bounds)[2] for bounds in budgets_of(task) for asked in (
                    (WAYS[way][0], seed, chosen.recipes, WAYS[way][1]) for seed in range(chosen.seeds))]
                for way in ASKED
            },
            "cells": sum(map(len, cells.values())), "families": len(cells), "goal": goal,
            "ways": {
                way: {
                    "share": {str(at): mean(curve[at - 1] for curve in several) for at in AT if at <= chosen.recipes},
                    "draws": [draws for _, draws, _ in runs[way]],
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
