"""What `edgekit tune` finds from the plain model, beside the shipped recipe made in the same place: `python -m benchmarks.tune.fronts NAME`.

The plain model is the recipe without its steps. Workers search; the shipped recipe is exported into the same store, so that a
stage that both need is made once and counts for both; then points of two fronts are made in full and read on test rows: of the
trials that ended within 1.5 times the seconds that the shipped recipe took, all workers' seconds counted, and of all trials. In the end
the original, off-the-shelf INT8, the shipped recipe's model and the points are timed in turns in one run. What is there is written after
each step, so that a run that is cut short says what it found until then.

A recipe that no shipped one stands beside is searched alone (`--alone`), and its points stand beside off-the-shelf INT8.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.pages import write_results
from edgekit.config.target import load_target
from edgekit.host import detect
from edgekit.pipeline.folder import LINEAGE
from edgekit.pipeline.run import run_recipe
from edgekit.plan.plan import BASELINE, BUNDLE, STOCK, in_order
from edgekit.plan.recipes import load_recipe
from edgekit.progress import Show
from edgekit.runtime.bench.protocol import Protocol
from edgekit.runtime.bench.statistics import ratio_interval
from edgekit.runtime.bench.words import TEXT
from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.errors import EdgekitError
from edgekit.store import find
from edgekit.tuner.front import Bounds, front
from edgekit.tuner.records import SECONDS, values_in
from edgekit.tuner.results import recipe_text, study_document, test_of
from edgekit.tuner.run import Asked, Searched, search
from edgekit.tuner.trial import Given, is_trained, side_by_side

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from edgekit.config.recipe import Recipe

TARGET = "x86-vnni"
COMPUTE = 1.5
"""Times the seconds of the shipped recipe that a search may take."""
POINTS = 3
"""Of each front, that are made in full."""
SHIPPED, ALL, WITHIN = "shipped", "all", "within"
LONG, MANY = 1000.0, 10_000
"""Minutes, or trials, of a worker, which is ended from outside: a trial that it is at is given back."""
MARGIN = 20
"""Seconds before the end at which whatever still runs is left."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", help="a shipped recipe, or a recipe's file")
    parser.add_argument("--place", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="for everything")
    parser.add_argument("--reserve", type=float, default=3.0, help="minutes of these for points and their timing")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cores", default="", help="numbers by comma, one for each process; by default any")
    parser.add_argument("--target", default=TARGET)
    parser.add_argument("--alone", action="store_true", help="no shipped recipe stands beside it")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    plain = _plain(chosen.name, chosen.place)
    if chosen.worker:
        search(_asked(plain, chosen.place, chosen.target, trials=MANY), Show())
    else:
        _everything(chosen, plain)


def _plain(name: str, place: Path) -> Path:
    """The recipe without its steps and without a budget but for what may be lost."""
    title, path, recipe = load_recipe(name)
    place.mkdir(parents=True, exist_ok=True)
    out = place / f"{title}.toml"
    if not out.is_file():
        accept = recipe.accept.model_copy(update={"min_speedup": None, "max_size_mb": None})
        bare = recipe.model_copy(update={"compress": [], "accept": accept})
        out.write_text(recipe_text(bare, path.parent, place, Bounds()), encoding="utf-8")
    return out


def _asked(plain: Path, place: Path, target: str, *, minutes: float | None = None, trials: int | None = None) -> Asked:
    return Asked(str(plain), target, place / "tune", minutes=minutes, trials=trials)


def _everything(chosen: argparse.Namespace, plain: Path) -> None:
    began, place = time.monotonic(), chosen.place
    until = began + 60 * chosen.minutes - MARGIN
    stop_search = until - 60 * chosen.reserve
    cores = [int(core) for core in chosen.cores.split(",") if core]
    pairs = [[core] for core in cores] or [[]]
    alone = " --alone" * chosen.alone
    document: dict[str, Any] = {
        "recipe": chosen.name if not chosen.alone else plain.stem, "target": chosen.target, "workers": chosen.workers, "minutes": chosen.minutes,
"command": f"python -m benchmarks.tune.fronts {Path(chosen.name).stem} --minutes {chosen.minutes:g} --workers {chosen.workers}{alone}",
        "machine": machine(),
    }  # fmt: skip
    worker = ["-m", "benchmarks.tune.fronts", chosen.name, "--place", str(place), "--out", str(chosen.out), "--minutes", "0"]
    worker += ["--target", chosen.target, "--worker", *(["--alone"] if chosen.alone else [])]
    workers = [start(worker, pairs[number % len(pairs)], place / f"worker-{number}.log") for number in range(chosen.workers)]
    export = ["-m", "edgekit", "export", chosen.name, "--target", chosen.target, "--no-bench", "--build", str(place / "tune")]
    made: list[subprocess.Popen[bytes]] = []

    def ship(*, now: bool = False) -> None:
        """Export the shipped recipe once what it trains is there, on the last core beside the search."""
        with suppress(EdgekitError):  # its files are not there yet
            now = now or is_trained(shipped, shipped.recipe)
        if not chosen.alone and not made and now:
            made.append(start(export, pairs[-1], place / "shipped.log"))

    title, path, recipe = load_recipe(chosen.name)
    shipped = Given(title, path, recipe, load_target(chosen.target), detect(), place / "tune", Show(silent=True))
    wait(workers, stop_search, ship)
    end(workers)
    if not chosen.alone:
        ship(now=True)
        wait(made, until - 90)
        end(made)
        document["shipped_exit"] = made[0].returncode
    searched = search(_asked(plain, place, chosen.target, trials=0), Show(silent=True))
    took = None if chosen.alone else _shipped_seconds(place, plain.stem, chosen.target)
    document |= {"study": study_document(searched, []), "fronts": _fronts(searched, took)}
    write_results(chosen.out, document)
    document["points"] = _points(searched, document, place, pairs, until, chosen)
    write_results(chosen.out, document)
    document |= _timed(searched, document, place, chosen, until)
    document["seconds"] = time.monotonic() - began
    write_results(chosen.out, document)


def machine() -> dict[str, Any]:
    import torch

    host = detect()
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {"cpu": host.cpu, "isa": sorted(host.isa), "cores": os.cpu_count(), "gpus": gpus}


def start(arguments: Sequence[str], cores: Sequence[int], log: Path) -> subprocess.Popen[bytes]:
    pin = ["taskset", "-c", ",".join(map(str, cores))] if cores else []
    with log.open("ab") as out:
        return subprocess.Popen([*pin, sys.executable, *arguments], stdout=out, stderr=subprocess.STDOUT)


def wait(children: Sequence[subprocess.Popen[bytes]], until: float, look: Callable[[], None] = lambda: None) -> None:
    """Until all children are done, or until a time (monotonic seconds); meanwhile `look` every 20 seconds."""
    last = time.monotonic()
    while time.monotonic() < until and any(child.poll() is None for child in children):
        time.sleep(0.25)
        if time.monotonic() > last + 20:
            look()
            last = time.monotonic()


def end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for child in children:
            if child.poll() is None:
                child.send_signal(number)
        wait(children, time.monotonic() + 5)


def _shipped_seconds(place: Path, name: str, target: str) -> float | None:
    """What the stages of the shipped recipe took, whenever they ran; None where it was not made."""
    path = place / "tune" / f"{name}-{target}" / LINEAGE
    return sum(stage["seconds"] for stage in json.loads(path.read_text(encoding="utf-8"))["stages"]) if path.is_file() else None


def _fronts(searched: Searched, shipped: float | None) -> dict[str, Any]:
    """Numbers of the trials on each front. Seconds are those of all workers, and of the original's stages."""
    given = searched.given
    _, item = given.plan(given.recipe)
    stages = [find(given.build, stage)[0] for stage in in_order([item.validation[BASELINE]])]
    original = sum(stage.seconds for stage in stages if stage is not None)
    complete, spent, inside = searched.complete, original, set()
    for trial in sorted(searched.trials, key=lambda one: one.datetime_complete or datetime.max):
        spent += trial.user_attrs.get(SECONDS, 0.0)
        if shipped is not None and spent <= COMPUTE * shipped:
            inside.add(trial.number)
    within = _front([trial for trial in complete if trial.number in inside])
    return {
        "original_seconds": original,
        "all_seconds": spent,
        "shipped_seconds": shipped,
        "trials_within": len(inside),
        ALL: _front(complete),
        WITHIN: within,
    }


def _front(trials: Sequence[FrozenTrial]) -> list[int]:
    return sorted(trials[number].number for number in front([values_in(trial) for trial in trials]))


def _points(
    searched: Searched,
    document: dict[str, Any],
    place: Path,
    pairs: Sequence[Sequence[int]],
    until: float,
    chosen: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Points of both fronts, made in full side by side, each with its figures of test rows."""
    trials = {trial.number: trial for trial in searched.complete}
    numbers = [
        number
        for name in (WITHIN, ALL)
        for number in _chosen(searched, [trials[one] for one in document["fronts"].get(name, ())])
    ]
    given, started = searched.given, []
    for at, number in enumerate(dict.fromkeys(numbers)):
        path = place / f"{given.name}-trial-{number}.toml"
        path.write_text(recipe_text(searched.recipe(trials[number]), given.path.parent, place, Bounds()), encoding="utf-8")
        command = [
            "-m",
            "edgekit",
            "export",
            str(path),
            "--target",
            chosen.target,
            "--no-bench",
            "--build",
            str(place / "tune"),
        ]
        started.append((number, path, start(command, pairs[at % len(pairs)], place / f"point-{number}.log")))
    wait([child for *_, child in started], until - 60)
    end([child for *_, child in started])
    found = []
    for number, path, child in started:
        quality, cost, size = values_in(trials[number])
        point = {"trial": number, "recipe": path.read_text(encoding="utf-8"), "exit": child.returncode,
                 "validation": {"quality": quality, "cost": cost, "size_mb": size}}  # fmt: skip
        found.append(point | (_result(str(path), place / "tune", chosen.target) if child.returncode in (0, 1) else {}))
    if document.get("shipped_exit") in (0, 1):
        document[SHIPPED] = _result(chosen.name, place / "tune", chosen.target)
    return found


def _chosen(searched: Searched, trials: Sequence[FrozenTrial]) -> list[int]:
    """The fastest and the smallest that lose no more than is allowed, and the best; in that order, as many as are made."""
    kept = [trial for trial in trials if all(share <= 0 for share in searched.over(trial).values())] or list(trials)
    if not kept:
        return []
    keys: list[Callable[[FrozenTrial], float]] = [
        lambda one: one.values[1] * one.values[2],
        lambda one: one.values[1],
        lambda one: -one.values[0],
    ]
    orders = [sorted(kept, key=key) for key in keys]
    return list(dict.fromkeys(order[at].number for at in range(len(kept)) for order in orders))[:POINTS]


def _result(recipe: str, build: Path, target: str) -> dict[str, Any]:
    (made,) = run_recipe(recipe, [target], build, measure=False, show=Show(silent=True))
    return {"test": test_of(made), "size_mb": _size(made.bundle)}


def _size(bundle: Path) -> float:
    return sum((bundle / name).stat().st_size for name in ("model.onnx", "tokenizer.json") if (bundle / name).is_file()) / 1e6


def _timed(
    searched: Searched, document: dict[str, Any], place: Path, chosen: argparse.Namespace, until: float
) -> dict[str, Any]:
    """All of them from text to answer, in turns, on test rows."""
    given = searched.given
    variants: dict[str, tuple[Path, Path]] = {}
    for name, path in (
        (f"trial-{one['trial']}", place / f"{given.name}-trial-{one['trial']}.toml")
        for one in document["points"]
        if "test" in one
    ):
        variants[name] = _models(given, load_recipe(str(path)), place / "tune", BUNDLE)
    if SHIPPED in document:
        variants[SHIPPED] = _models(given, load_recipe(chosen.name), place / "tune", BUNDLE)
    if not variants:
        return {"not_timed": "no point was made"}
    first = next((place / f"{given.name}-trial-{one['trial']}.toml" for one in document["points"] if "test" in one), None)
    of = load_recipe(chosen.name if first is None else str(first))
    for name in (BASELINE, STOCK):
        try:
            variants[name] = _models(given, of, place / "tune", name)
        except EdgekitError as fault:
            document[f"without_{name}"] = str(fault)
        else:
            if not (variants[name][0] / MODEL).is_file():
                document[f"without_{name}"] = "it could not be made"
                del variants[name]
    seconds = max(10.0, until - time.monotonic())
    processes = max(3, min(9, int(seconds / (4 * len(variants)))))
    runs = side_by_side(
        given, searched.original.data / "test.jsonl", variants, Protocol(processes, 0.4, 30, 0.5, 1, given.recipe.seed)
    )
    samples = {name: runs.samples(name, TEXT) for name in variants}
    against = [name for name in (BASELINE, STOCK, SHIPPED) if name in samples]
    return {"processes": processes, "timed": {
        name: {"ms": median(map(median, one)), "each": [median(run) for run in one],
               "times": {other: ratio_interval(samples[other], one, given.recipe.seed) for other in against if other != name}}
        for name, one in samples.items()
    }}  # fmt: skip


def _models(given: Given, loaded: tuple[str, Path, Recipe], build: Path, variant: str) -> tuple[Path, Path]:
    """(folder of its graph, its checkpoint) of a variant of a recipe that was made in `build`."""
    name, path, recipe = loaded
    made = replace(given, name=name, path=path, recipe=recipe, build=build)
    _, item = made.plan(recipe)
    stages = item.variants[variant]
    found = [find(build, stage)[0] for stage in (stages.model, stages.checkpoint)]
    model, checkpoint = (one.path for one in found if one is not None)
    return model, checkpoint


if __name__ == "__main__":
    main()
