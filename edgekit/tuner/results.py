"""What a search leaves: the points of its front made in full and read on test rows, once, and the study as JSON, as recipes and as a page."""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import edgekit
from edgekit.config.recipe import HUB, Recipe
from edgekit.config.toml import as_toml
from edgekit.pipeline.folder import BENCH, LINEAGE
from edgekit.pipeline.run import Result, run_recipe
from edgekit.plan.plan import BASELINE, BUNDLE
from edgekit.progress import Show
from edgekit.runtime.bench.words import TEXT
from edgekit.runtime.errors import EdgekitError, Interrupted
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.outputs import write_atomically
from edgekit.runtime.strict_json import read_json
from edgekit.tasks import find_task
from edgekit.tuner.front import Bounds
from edgekit.tuner.mattered import importances
from edgekit.tuner.nearest import closest, nearest
from edgekit.tuner.on_device import ratio_there, time_bundle
from edgekit.tuner.records import (
    FAILED,
    FORESEEN,
    MEASURED,
    NEEDS,
    REFUSED,
    RUNGS,
    SAME,
    SECONDS,
    STOPPED,
    UNTRAINED,
    ordinals,
    seconds_of,
    values_in,
)
from edgekit.tuner.run import Asked, Searched, search
from edgekit.tuner.storage import answering
from edgekit.tuner.trial import of_this_recipe
from edgekit.tuner.words import fault, outline

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["PAGE", "STUDY", "Found", "Point", "finish", "recipe_text", "study_document", "test_of", "tuned"]

STUDY, PAGE = "study.json", "study.html"
TESTED = "tested"
"""Trials whose test rows were ever read, in the study."""
OF_KEY = 6
"""Digits of a model's key that its recipe is named with."""
ASK_FOR_MORE = "ask for a bit more than is needed (--lose 0.8% where 1% may be lost), over the same trials"
MOST_POINTS = 6
"""Points that are made in full: what each costs is minutes, and a reader compares no more."""


@dataclass(frozen=True)
class Point:
    """One point of the front, made like any bundle."""

    trial: int
    """Which trial it is, from 1 on, as everything that people are shown counts them."""
    recipe: Path
    """Named after the model that it makes, so that no point of another budget or study takes its place."""
    result: Path
    missed: tuple[str, ...]
    """Budgets that it does not keep on test rows, in words."""
    validation: JsonObject
    test: JsonObject
    """Quality on test rows with the paired difference from the original, and what was timed here."""
    steps: str
    kept_on_validation: bool
    """Whether it keeps the budget on validation rows, by which it was chosen."""

    @property
    def kept(self) -> bool:
        """Whether it keeps the whole budget, on validation and on test rows."""
        return self.kept_on_validation and not self.missed


@dataclass(frozen=True)
class Found:
    """What `edgekit tune` returns."""

    folder: Path
    points: tuple[Point, ...]
    """The front, the best quality first; empty where `left_to_others`."""
    document: JsonObject
    """What study.json holds."""

    @property
    def left_to_others(self) -> bool:
        """Whether other workers are still at the study: the one that ends last makes its points, and nothing was judged here."""
        return bool(self.document["waiting"])

    @property
    def page(self) -> Path:
        """The study's page."""
        return self.folder / PAGE

    @property
    def kept(self) -> tuple[Point, ...]:
        """The points that keep the whole budget, on validation and on test rows."""
        return tuple(point for point in self.points if point.kept)


def tuned(asked: Asked, show: Show) -> Found:
    """Search as long as is asked for, then make the points of the front, read their quality on test rows, and write study.json, the page and a
    recipe for each; on the way, and where it is interrupted, study.json and the page as far as they are.

    Raises:
        EdgekitError, KeyboardInterrupt, Interrupted: as `search` does; what was found and made is kept.
    """
    searched = search(asked, show, lambda so_far: _written(so_far, _earlier_points(so_far), over=False))
    try:
        return finish(searched)
    except (KeyboardInterrupt, Interrupted):
        show.line("  interrupted while the points were made: the search is over, and the same command makes the rest of them")
        raise


def finish(searched: Searched) -> Found:
    """Make the points of a search that is over, unless other workers are still at it, and write what it leaves."""
    given, folder = searched.given, searched.folder
    chosen = [] if searched.waiting else _chosen(searched)
    if chosen:  # said before they are read: a kill amid that leaves none that was read and is not counted
        with answering(searched.at):
            read = {*searched.study.user_attrs.get(TESTED, ()), *(trial.number for trial in chosen)}
            searched.study.set_user_attr(TESTED, sorted(read))
    made, unmade = list[Point](), dict[int, str]()
    for number, trial in enumerate(chosen, 1):
        shown = ordinals(searched.study)[trial.number]
        given.show.line(f"point {number} of {len(chosen)}: trial {shown}, made in full and read on test rows")
        try:
            made.append(_point(searched, trial))
        except Exception as raised:
            why = fault(raised)
            if not of_this_recipe(raised) or len(chosen) == 1 or why in unmade.values():  # of all of them, or of this machine
                told = {**unmade, shown: why} if of_this_recipe(raised) else unmade
                _written(searched, [_as_json(searched, point) for point in made], over=False, unmade=told)
                raise
            unmade[shown] = why
            given.show.line(f"  not made: {why}")
    points = [_as_json(searched, point) for point in made]
    document = _written(searched, points, over=not searched.waiting, unmade=unmade)
    return Found(folder, tuple(made), document)


def _written(
    searched: Searched, points: list[JsonObject], *, over: bool, unmade: Mapping[int, str] = MappingProxyType({})
) -> JsonObject:
    """Write study.json and the page; returns what the former holds. `unmade`: trials, as people are shown them, that were to be points and could
    not be made, and why."""
    from edgekit.tuner.page import render_study

    said = [f"trial {trial} could not be made in full: {why}" for trial, why in unmade.items()]
    document = {
        **study_document(searched, points, over=over),
        "nearest": [*said, *(nearest(searched) or _missed_on_test(points))],
    }
    write_atomically(searched.folder / STUDY, json.dumps(document, indent=1) + "\n")
    write_atomically(searched.folder / PAGE, render_study(document))
    return document


def _missed_on_test(points: list[JsonObject]) -> list[str]:
    """Why nothing keeps the budget where some do on validation rows; nothing where a point does."""
    if not points or any(point["kept"] for point in points):
        return []
    missed = [f"point {number}: {', '.join(map(str, point['missed']))}" for number, point in enumerate(points, 1)]  # type: ignore[arg-type]
    made = "the one point misses" if len(points) == 1 else f"all {len(points)} points miss"
    chosen = "on test rows, and not on the validation rows by which it was chosen"
    return [f"{made} the budget {chosen}: {'; '.join(missed)}", ASK_FOR_MORE]


def _earlier_points(searched: Searched) -> list[JsonObject]:
    """The points that the search left when it was over before, under the same budget: they are made, and stay until it is over again."""
    try:
        before: Any = read_json(searched.folder / STUDY, most=64_000_000)
        return before["points"] if before["budget"] == vars(searched.bounds) else []
    except (EdgekitError, OSError, KeyError, TypeError):
        return []  # none yet, or none that can be read: they are made again


def _as_json(searched: Searched, point: Point) -> JsonObject:
    return {
        "trial": point.trial, "recipe": point.recipe.name, "result": os.path.relpath(point.result, searched.folder), "steps": point.steps,
        "validation": point.validation, "test": point.test, "missed": list(point.missed),
        "kept_on_validation": point.kept_on_validation, "kept": point.kept,
    }  # fmt: skip


def _chosen(searched: Searched) -> list[FrozenTrial]:
    """Points of the front: those in budget, or the nearest one where none is; of many the best of each kind, and others between them."""
    kept = [trial for trial in searched.front if all(share <= 0 for share in searched.over(trial).values())]
    if not kept:
        return [closest(searched)] if searched.front else []
    best = [
        max(kept, key=lambda one: one.values[0]),
        min(kept, key=lambda one: one.values[1]),
        min(kept, key=lambda one: one.values[2]),
    ]
    spread = [kept[round(step * (len(kept) - 1) / max(1, MOST_POINTS - 1))] for step in range(MOST_POINTS)]
    numbers = list(dict.fromkeys(trial.number for trial in (*best, *spread)))[:MOST_POINTS]
    return [trial for trial in kept if trial.number in numbers]


def _point(searched: Searched, trial: FrozenTrial) -> Point:
    given, recipe = searched.given, searched.recipe(trial)
    _, item = given.plan(recipe)
    path = searched.folder / f"{given.name}-point-{item.variants[BUNDLE].model.key[:OF_KEY]}.toml"
    text = recipe_text(recipe, given.path.parent, searched.folder, searched.bounds)
    quality, cost, size = values_in(trial)
    measured = trial.user_attrs.get(MEASURED)
    command = ["edgekit", "export", str(path), "--target", searched.target, "--build", str(given.build)]
    write_atomically(path, f"# {' '.join(shlex.quote(part) for part in command)}\n# {outline(recipe)}\n{text}")
    target = given.target.name
    (result,) = run_recipe(
        str(path), [target], given.build, measure=given.timed and given.device is None, show=given.show, shared=given.shared
    )
    test, missed = dict(test_of(result)), list(result.missed)
    if given.device is not None and searched.original.there is not None:
        found = ratio_there(
            searched.original.there, time_bundle(given.device, given.target, result.bundle, recipe.seed, given.show)
        )
        test |= {"times": {"value": found["times"], "ci95": found["ci95"]}, "ms": found["ms"]}
        if searched.bounds.faster is not None and found["times"] < searched.bounds.faster:
            missed.append(f"{found['times']:.2f} times fp32 on {given.device.shown()}, {searched.bounds.faster:g} asked for")
    return Point(
        ordinals(searched.study)[trial.number], path, result.path, tuple(missed),
        {"quality": quality, "cost": cost, "size_mb": size, "times": None if measured is None else measured["times"]},
        test, outline(recipe), all(share <= 0 for share in searched.over(trial).values()),
    )  # fmt: skip


def test_of(result: Result) -> JsonObject:
    """Quality, interval, size and speed of a result, from its own files."""
    lineage: Any = read_json(result.path / LINEAGE, most=64_000_000)
    quality = lineage["variants"][BUNDLE]["quality"]
    found: dict[str, JsonValue] = {name: quality[name] for name in ("metric", "value", "n", "difference", "ci95")}
    found["original"] = lineage["variants"][BASELINE]["quality"]["value"]
    if (result.path / BENCH).is_file():
        bench: Any = read_json(result.path / BENCH, most=64_000_000)
        ratio = next((one for one in bench["ratios"] if one["against"] == BASELINE and one["scenario"] == TEXT), None)
        found["times"] = None if ratio is None else {"value": ratio["speedup"], "ci95": ratio["ci95"]}
        bundle = next((one for one in bench["variants"] if one["name"] == BUNDLE), None)
        if bundle is not None:
            found["ms"] = next(one["p50_ms"] for one in bundle["scenarios"] if one["name"] == TEXT)
    return found


def recipe_text(recipe: Recipe, relative_to: Path, folder: Path, bounds: Bounds) -> str:
    """The recipe as a file in `folder`, of one whose paths are relative to another, with the budget as what it accepts."""

    def moved(name: str) -> str:
        path = relative_to / name
        if Path(name).is_absolute():
            return name
        first = next((at for at, part in enumerate(path.parts) if "*" in part and not path.exists()), len(path.parts))
        there = Path(*path.parts[:first])  # the part of it that is no pattern
        return str(Path(os.path.relpath(there.resolve(), folder.resolve()), *path.parts[first:])) if there.exists() else name

    document = recipe.model_dump(mode="json", by_alias=True, exclude_unset=True)
    model, data = document["model"], document["data"]
    if model.get("id") is not None:
        model["id"] = moved(model["id"])
    for key in ("file", "train", "validation", "test", "unlabelled"):
        if key in data:
            several = data[key] if isinstance(data[key], list) else [data[key]]
            placed = [_moved_rows(one, moved) for one in several]
            data[key] = placed if isinstance(data[key], list) else placed[0]
    for step, settings in zip(document.get("compress", []), recipe.compress, strict=True):
        from edgekit.compress.registry import find_method

        for setting in find_method(settings.method).named_checkpoints(settings):
            given = step[setting]
            step[setting] = [moved(one) for one in given] if isinstance(given, list) else moved(given)
    accept = recipe.accept.model_copy(
        update={
            name: value
            for name, value in (
                ("max_quality_drop", bounds.lose),
                ("min_speedup", bounds.faster),
                ("max_size_mb", bounds.smaller),
            )
            if value is not None
        }
    )
    document["accept"] = accept.model_dump(mode="json", exclude_none=True)
    if not document["accept"]:
        del document["accept"]
    return as_toml(document)


def _moved_rows(source: Any, moved: Any) -> Any:
    if isinstance(source, str):
        name, mark, column = source.partition("#") if not source.startswith(HUB) else (source, "", "")
        return f"{moved(name)}{mark}{column}"
    return {**source, "path": moved(source["path"])} if source.get("path") else source


def study_document(searched: Searched, points: list[JsonObject], *, over: bool = True) -> JsonObject:
    """The study for machines. `over`: the search is, and its points are made."""
    given, original = searched.given, searched.original
    at = ordinals(searched.study)
    took = seconds_of(searched.study)
    trials: list[JsonValue] = [{**_trial(searched, trial, at), SECONDS: took[trial.number]} for trial in searched.trials]
    tested = sorted({at[number] for number in searched.study.user_attrs.get(TESTED, ()) if number in at})
    counts = Counter(_state(trial) for trial in searched.trials)
    looked_at = sum(RUNGS in trial.user_attrs and SAME not in trial.user_attrs for trial in searched.trials)
    task = find_task(given.recipe.task)
    metric = task.alone.metric if given.recipe.data.without_labels and task.alone is not None else task.metric
    written: JsonObject = {
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "edgekit": edgekit.__version__, "cpu": given.host.cpu, "cores": given.host.cores_usable,
    }  # fmt: skip
    return {
        "schema_version": 1, "written": written, "name": searched.name, "recipe": given.name, "task": task.name, "metric": metric,
        "target": given.target.name, "timed": given.timed,
        "device": None if given.device is None else given.device.shown(), "sampler": searched.sampler,
        "cost": "share of the time of ONNX Runtime fp32, from text to answer" if given.timed else "share of the multiplications",
        "budget": {"lose": searched.bounds.lose, "faster": searched.bounds.faster, "smaller": searched.bounds.smaller},
        "original": {"quality": original.quality, "rows": original.rows, "size_mb": original.size_mb},
        "looked_at": looked_at, "tested": [*tested], "states": dict(counts), "over": over, "waiting": searched.waiting,
        "seconds": sum(took.values()),
        "front": sorted(at[trial.number] for trial in searched.front), "trials": trials,
        "importances": importances(searched.study), "nearest": list(nearest(searched)),
        "points": [*points], "earlier": [*_earlier_recipes(searched, points)],
    }  # fmt: skip


def _earlier_recipes(searched: Searched, points: list[JsonObject]) -> list[str]:
    """Recipes of points that another budget, or another study of this name, left in the folder: they stay, with their bundles."""
    given = searched.given
    found = searched.folder.glob(f"{escape(given.name)}-point-*.toml")
    there = {path.name for path in found if (given.build / f"{path.stem}-{given.target.name}").is_dir()}
    return sorted(there - {str(point["recipe"]) for point in points})


def _state(trial: FrozenTrial) -> str:
    if trial.state.name == "COMPLETE":
        return "complete"
    return next((name for name in (REFUSED, UNTRAINED, FAILED, STOPPED) if name in trial.user_attrs), STOPPED)


def _trial(searched: Searched, trial: FrozenTrial, at: Mapping[int, int]) -> JsonObject:
    """What came of a trial. `trial`: which one it is as people are shown it (`at`); `number`: the storage's own of its last try."""
    said = {
        name: trial.user_attrs[name]
        for name in (FORESEEN, RUNGS, MEASURED, REFUSED, UNTRAINED, STOPPED, NEEDS, FAILED)
        if name in trial.user_attrs
    }
    if SAME in trial.user_attrs:
        said[SAME] = at[trial.user_attrs[SAME]]
    complete = trial.state.name == "COMPLETE"
    values: JsonObject = dict(zip(("quality", "cost", "size_mb"), trial.values, strict=True)) if complete else {}
    return {
        "trial": at[trial.number], "number": trial.number, "state": _state(trial), "drawn": dict(trial.params), **said, **values,
        "steps": "" if REFUSED in said else outline(searched.recipe(trial)),
    }  # fmt: skip
