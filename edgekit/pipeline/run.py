"""Running a plan: stages through the store, then the bundle, its measurement, its lineage and its report."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.config.target import best_target
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.pipeline.assemble import PACKED, lay_out, lineage_of, pack_stage
from edgekit.plan.make import decided, make_plan
from edgekit.plan.plan import Plan, TargetPlan
from edgekit.progress import Show
from edgekit.runtime.bundle.names import MODEL
from edgekit.store import Artifact, Stage, being_made, find, produce, write_atomically

__all__ = ["Result", "explain", "export", "measure", "run_recipe", "run_stages", "write_reports"]

LINEAGE, BENCH = "lineage.json", "bench.json"


@dataclass(frozen=True)
class Result:
    """One target's outcome."""

    path: Path
    """Result folder: bundle/, bundle.tar.gz, runner.pyz, lineage.json, bench.json, report.html, report.md."""
    up_to_date: bool
    missed: list[str] = field(default_factory=list)
    """Budgets that were not met, in words."""
    table: list[Any] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "path": str(self.path), "bundle": str(self.path / "bundle"), "report": str(self.path / "report.html"),
            "up_to_date": self.up_to_date, "missed": self.missed,
        }  # fmt: skip

    def shown(self) -> list[Any]:
        """For people: the table, then where things lie."""
        lines = [*self.table, ""]
        lines += [
            f"bundle   {self.path / 'bundle'}",
            f"archive  {self.path / 'bundle.tar.gz'}",
            f"report   {self.path / 'report.html'}",
        ]
        lines += [f"NOT MET  {fault}" for fault in self.missed]
        if self.up_to_date:
            lines.append("Everything is up to date; nothing was run. `edgekit bench` measures again.")
        return lines


def export(recipe: str, target: str | list[str] | None = None, build: str | Path = "build", *, measure: bool = True) -> Result:
    """Make one bundle and return where it lies; the Python face of `edgekit export`."""
    names = [target] if isinstance(target, str) else list(target or [])
    return run_recipe(recipe, names, Path(build), measure=measure, show=Show(silent=True))[0]


def run_recipe(recipe: str, targets: list[str], build: Path, *, measure: bool, show: Show) -> list[Result]:
    """Run a recipe for one or several targets, which share every stage that does not depend on the target.

    Raises:
        EdgekitError: any fault of input, check or machine; finished stages are kept.
    """
    host = detect()
    plan = make_plan(recipe, targets or [best_target(host).name], host)
    build.mkdir(parents=True, exist_ok=True)
    packs = {item.target.name: pack_stage(plan, item, {"arch": host.arch, "isa": sorted(host.isa)}) for item in plan.targets}
    everything: list[Stage] = []
    for item in plan.targets:
        everything += [stage for stage in [*plan.stages(item), packs[item.target.name]] if stage not in everything]
    done, fresh = run_stages(everything, build, show)
    if int(os.environ.get("RANK", "0")):
        return []  # a helper process of `accelerate launch`: the first one writes results
    return [_finish(plan, item, packs[item.target.name], done, fresh, build, measure, show) for item in plan.targets]


def run_stages(everything: list[Stage], build: Path, show: Show) -> tuple[dict[str, Artifact], set[str]]:
    """Produce every stage that is not there; returns artifacts by key and the keys that were run now.

    What another run is making is put off as long as there is something else to do, so that exports side by side share the work.
    """
    done: dict[str, Artifact] = {}
    fresh: set[str] = set()
    waiting = {stage.key: stage for stage in everything}
    needs = {key: {name: upstream.key for name, upstream in stage.inputs.items()} for key, stage in waiting.items()}
    count = len(waiting)
    while waiting:
        key = _next({key: stage for key, stage in waiting.items() if done.keys() >= set(needs[key].values())}, build)
        stage = waiting.pop(key)
        artifact, corrupt = find(build, stage)
        if corrupt:
            show.line(f"  corrupt entry of stage {stage.name} ({corrupt}); it is made again")
        if artifact is None:
            inputs = {name: done[upstream].path for name, upstream in needs[key].items()}
            with show.stage(stage.title) as progress:
                artifact = _produce(build, stage, inputs, progress)
            fresh.add(key)
            show.line(f"  {count - len(waiting):2}/{count}  {stage.title:<58} {artifact.seconds:7.1f} s")
        done[key] = artifact
    return done, fresh


def _next(ready: Mapping[str, Stage], build: Path) -> str:
    """Key of the first stage that nobody else is making; of the first of all where others are making each, to wait for it."""
    first = next(iter(ready))
    if "RANK" in os.environ:
        return first  # the processes of `accelerate launch` train together, so all take the stages in one order
    return next((key for key, stage in ready.items() if not being_made(build, stage)), first)


def _produce(build: Path, stage: Stage, inputs: Mapping[str, Path], progress: Any) -> Artifact:
    """Run a stage here; in a helper process of `accelerate launch`, take part in it or wait for the first process."""
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:
        return produce(build, stage, inputs, progress)
    if stage.spread:
        aside = build / f".rank-{rank}"  # this process' own scratch, which outlives a kill like the first one's
        produce(aside, stage, inputs, progress)
        shutil.rmtree(aside, ignore_errors=True)
    while True:
        artifact, _ = find(build, stage)
        if artifact is not None:
            return artifact
        time.sleep(0.5)


def _finish(
    plan: Plan, item: TargetPlan, pack: Stage, done: dict[str, Artifact], fresh: set[str], build: Path, timed: bool, show: Show
) -> Result:
    """Lay the bundle out, measure it where that is wanted and possible, write lineage and report, and judge the budget."""
    folder = build / f"{plan.name}-{item.target.name}"
    packed = done[pack.key]
    changed = lay_out(packed.path, folder)
    lineage = lineage_of(plan, item, done, fresh, changed=changed, previous=folder / LINEAGE)
    if lineage is not None:
        write_atomically(folder / LINEAGE, json.dumps(lineage, indent=1, sort_keys=True) + "\n")
    measured = _measured(folder, packed)
    ran = bool(fresh) or changed
    if timed and item.timed and not measured:
        with show.stage(f"measure on this machine ({item.target.name}, quick)") as progress:
            _bench(folder, quick=True, progress=progress)
        ran = True
    if ran or not (folder / "report.html").is_file():
        write_reports(folder)
    return Result(folder, up_to_date=not ran, missed=_missed(folder), table=_table(folder))


def _missed(folder: Path) -> list[str]:
    """The recipe's budgets that are not met, in words; what was not measured here is not judged."""
    from edgekit.report.facts import read_facts
    from edgekit.report.verdicts import budgets

    return [f"{item.what}: {item.found}, asked was {item.asked}" for item in budgets(read_facts(folder)) if item.met is False]


def _measured(folder: Path, packed: Artifact) -> bool:
    """Whether bench.json is of this very bundle."""
    try:
        document = json.loads((folder / BENCH).read_text(encoding="utf-8"))
        manifest = json.loads((packed.path / PACKED / "manifest.json").read_text(encoding="utf-8"))
        return bool(document["complete"] and document["artifact_sha256"] == manifest["assets"][MODEL]["sha256"])
    except (OSError, ValueError, KeyError):
        return False


def _bench(folder: Path, *, quick: bool, progress: Any, **options: Any) -> dict[str, Any]:
    from edgekit.bench.run import run_bench

    command = "edgekit " + " ".join(["bench", str(folder), *(["--quick"] if quick else [])])
    return run_bench(folder, quick=quick, out=folder / BENCH, progress=progress, command=command, **options)


def measure(
    bundle: Path,
    *,
    quick: bool,
    processes: int | None,
    seconds: float | None,
    threads: int | None,
    prompts: tuple[int, ...] | None = None,
    seed: int,
    show: Show,
) -> tuple[dict[str, Any], list[Any]]:
    """Measure a result folder with all its baselines, or a lone bundle without any; returns (document, what to print)."""
    folder = bundle.parent if bundle.name == "bundle" and (bundle.parent / LINEAGE).is_file() else bundle
    options = {"processes": processes, "seconds": seconds, "threads": threads, "prompts": prompts}
    if not (folder / LINEAGE).is_file():
        from edgekit.runtime.bench.lone import bench_bundle

        document = bench_bundle(
            bundle,
            threads=threads,
            prompts=prompts,
            processes=processes or (3 if quick else 10),
            seconds=seconds or (0.5 if quick else 2.0),
            out=None,
        )
        return document, [json.dumps(document, indent=1)]
    with show.stage("measure") as progress:
        document = _bench(folder, quick=quick, progress=progress, seed=seed, **options)
    _, shown = write_reports(folder)
    return document, [*shown, f"result   {folder / BENCH}"]


def write_reports(build: Path) -> tuple[list[Path], list[Any]]:
    """Write the pages of one result folder, or of all below `build`; returns (paths, tables to print).

    Raises:
        BadInput: no result there.
    """
    from edgekit.report.index import write_reports as write

    folders = [build] if (build / LINEAGE).is_file() else sorted(path.parent for path in build.glob(f"*/{LINEAGE}"))
    if not folders:
        raise BadInput("no results to report on", where=str(build), fix="run `edgekit export` first")
    return write(build), [part for folder in folders for part in _table(folder)]


def _table(folder: Path) -> list[Any]:
    from edgekit.report.facts import read_facts
    from edgekit.report.tables import render_terminal

    return [render_terminal(read_facts(folder))]


def explain(recipe: str, targets: list[str], build: Path) -> tuple[dict[str, Any], list[Any]]:
    """The plan as (document, what to print): stages, keys, hits and misses, and who decided each setting."""
    from rich.table import Table

    host = detect()
    plan = make_plan(recipe, targets or [best_target(host).name], host)
    table = Table(title=f"{plan.name} for {', '.join(item.target.name for item in plan.targets)}", title_justify="left")
    for column in ("stage", "key", "state", "reads of the target"):
        table.add_column(column, overflow="fold")
    rows, seen = [], set()
    for item in plan.targets:
        packed = pack_stage(plan, item, {"arch": host.arch, "isa": sorted(host.isa)})
        for stage in [*plan.stages(item), packed]:
            key = stage.key
            if key in seen:
                continue
            seen.add(key)
            artifact, corrupt = find(build, stage)
            state = f"corrupt: {corrupt}" if corrupt else ("done" if artifact else "to run")
            reads = sorted(stage.target_fields)
            rows.append({"stage": stage.name, "title": stage.title, "key": key, "state": state, "reads": reads})
            table.add_row(stage.title, key[:12], state, ", ".join(reads) or "nothing")
    settings: list[dict[str, Any]] = [
        {
            "target": item.target.name,
            "measured_here": item.timed,
            "quantize": decided(plan.recipe, item.target),
        }
        for item in plan.targets
    ]
    lines = [
        f"{item['target']}: {name} = {fact['value']}  ({'default' if fact['from'] == 'default' else 'from the ' + fact['from']})"
        for item in settings
        for name, fact in item["quantize"].items()
    ]
    lines += [
        f"{item['target']}: " + ("measured here" if item["measured_here"] else "exported only: this host is not that target")
        for item in settings
    ]
    return {"recipe": plan.name, "stages": rows, "targets": settings}, [table, *lines]
