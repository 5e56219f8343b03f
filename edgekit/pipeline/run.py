"""Running a recipe: its stages through the store, then per target the bundle, its measurement, its lineage and its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from edgekit.config.target import WASM, best_target
from edgekit.errors import CheckFailed, NotPossibleHere
from edgekit.host import detect
from edgekit.pipeline.execute import Finished, rank, run_stages
from edgekit.pipeline.folder import (
    ARCHIVE,
    CHECKPOINT,
    LINEAGE,
    REPORT,
    alone,
    check_results,
    lay_out,
    point_to_checkpoint,
    recipe_file,
    result_folder,
    target_file,
)
from edgekit.pipeline.lineage import lineage_of
from edgekit.pipeline.measure import bench_result, is_measured
from edgekit.pipeline.pack_stage import PACKED, pack_stage
from edgekit.pipeline.report import missed_budgets, nothing_to_lose, write_reports
from edgekit.plan.make import make_plan
from edgekit.plan.needs import fetch, needs_of
from edgekit.plan.plan import BASELINE, Plan, TargetPlan, host_facts
from edgekit.plan.recipes import load_recipe
from edgekit.progress import Show
from edgekit.report.made_from import RECIPE, TARGET
from edgekit.runtime.arguments import a_path, a_switch
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.outputs import write_atomically
from edgekit.shared_store import SharedStore, open_shared
from edgekit.store import Artifact, Stage
from edgekit.tasks import find_task

__all__ = ["Result", "export", "run_recipe"]


@dataclass(frozen=True)
class Result:
    """One target's outcome."""

    path: Path
    """Result folder: bundle/, bundle.tar.gz, runner.pyz, lineage.json, bench.json, report.html, report.md, checkpoint/ of a recipe with steps."""
    up_to_date: bool
    missed: list[str] = field(default_factory=list)
    """Budgets that were not met, in words."""

    @property
    def bundle(self) -> Path:
        """Folder of the bundle."""
        return self.path / PACKED

    @property
    def archive(self) -> Path:
        """The bundle as one file."""
        return self.path / ARCHIVE

    @property
    def checkpoint(self) -> Path | None:
        """What the recipe's steps made of the model, for another recipe to name (a link into the store); None without steps."""
        return self.path / CHECKPOINT if (self.path / CHECKPOINT).is_dir() else None

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.path / REPORT

    def document(self) -> JsonObject:
        """The outcome as JSON."""
        return {
            "path": str(self.path), "bundle": str(self.bundle), "report": str(self.report), "up_to_date": self.up_to_date,
            "missed": self.missed,
        }  # fmt: skip


def export(
    recipe: str | Path,
    target: str | Path | list[str] | None = None,
    build: str | Path = "build",
    *,
    measure: bool = True,
    store: str | None = None,
) -> Result:
    """Make one bundle and return where it lies; the Python face of `edgekit export`. `store`: address of a store that machines share."""
    names = [str(target)] if isinstance(target, str | Path) else list(map(str, target or []))
    folder = a_path(build, "build")
    shared = None if store is None else open_shared(store)
    return run_recipe(
        str(a_path(recipe, "recipe")),
        names,
        folder,
        measure=a_switch(measure, "measure"),
        show=Show(silent=True),
        shared=shared,
    )[0]


def run_recipe(
    recipe: str, targets: list[str], build: Path, *, measure: bool, show: Show, shared: SharedStore | None = None
) -> list[Result]:
    """Run a recipe for one or several targets, which share every stage that does not depend on the target. `shared`: a store beside the one
    in `build`, of several machines.

    Returns a result a target; none in the further processes of an `accelerate launch`, whose first one writes results.

    Raises:
        EdgekitError: any fault of input, check or machine; finished stages are kept.
    """
    host = detect()
    _, path, asked = load_recipe(recipe)
    fetch(needs_of(asked, path.parent), show)
    plan = make_plan(recipe, targets or [best_target(host).name], host)
    for note in plan.model_notes:
        show.line(f"  {note}")
    check_results(plan, build)
    build.mkdir(parents=True, exist_ok=True)
    packs = [pack_stage(plan, item, host_facts(host)) for item in plan.targets]
    stages = {stage.key: stage for item, pack in zip(plan.targets, packs, strict=True) for stage in (*plan.stages(item), pack)}
    finished = run_stages(stages.values(), build, show, _original_check(plan, show), shared)
    if rank():
        return []
    return [
        _finish(plan, item, pack, finished, build, measure=measure, show=show)
        for item, pack in zip(plan.targets, packs, strict=True)
    ]


def _original_check(plan: Plan, show: Show) -> Callable[[Stage, Artifact], None]:
    """Ends a run with `max_quality_drop` whose original has no quality to lose: a budget that any model would keep. Without one it is said.

    The original's score is the first thing that a plan needs after the original itself, so this is told before anything is compressed.
    """
    scores = {item.variants[BASELINE].score.key for item in plan.targets}

    def check(stage: Stage, artifact: Artifact) -> None:
        if stage.key not in scores:
            return
        quality, rows = cast("float", artifact.metrics["quality"]), cast("int", artifact.metrics["n"])
        if not nothing_to_lose(find_task(plan.recipe.task).metric, quality):
            return
        if plan.recipe.accept.max_quality_drop is None:
            show.line(
                f"  the original itself scores {quality:.2%} on the {rows:,} test rows, so that nothing can be lost: see whether the rows' labels "
                "are those of the model"
            )
        else:
            raise CheckFailed(
                f"the original itself scores {quality:.2%} on the {rows:,} test rows: there is no quality to lose, and max_quality_drop "
                "would hold for any model",
                where=plan.name,
                fix="see whether the rows' labels are those of the model, and the tokenizer is the one that it was trained with; without a "
                "quality to keep, leave max_quality_drop out",
            )

    return check


def _finish(plan: Plan, item: TargetPlan, pack: Stage, finished: Finished, build: Path, *, measure: bool, show: Show) -> Result:
    """Lay the bundle out, measure it where that is wanted and possible, write lineage and report, and judge the budget."""
    folder = result_folder(plan, item, build)
    packed = finished.artifacts[pack.key].path
    with alone(folder, show):
        check_results(plan, build)  # again: another recipe may have been as fast
        return _lay_out(plan, item, packed, finished, folder, measure=measure, show=show)


def _can_be_timed(item: TargetPlan, show: Show) -> bool:
    """Whether what times are taken with is here; where it is not, that is said, and the result is whole without them."""
    if item.target.arch != WASM:
        return True
    from edgekit.bench.engines import usable_engines

    try:
        usable_engines()
    except NotPossibleHere as fault:
        show.line(f"  not measured: {fault.what}")
        return False
    return True


def _lay_out(
    plan: Plan, item: TargetPlan, packed: Path, finished: Finished, folder: Path, *, measure: bool, show: Show
) -> Result:
    """What `_finish` does in the result folder."""
    changed = lay_out(packed, folder) or bool(finished.made_now)
    point_to_checkpoint(finished.artifacts[plan.compressed[-1].key].path if plan.compressed else None, folder)
    if changed or not (folder / LINEAGE).is_file():
        lineage = lineage_of(plan, item, finished, folder)
        write_atomically(folder / RECIPE, recipe_file(plan, folder))
        write_atomically(folder / TARGET, target_file(item, folder))
        write_atomically(folder / LINEAGE, json.dumps(lineage, indent=1, sort_keys=True) + "\n")
    if measure and item.timed and not is_measured(folder, packed / PACKED) and _can_be_timed(item, show):
        with show.stage(f"measure on this machine ({item.target.name}, quick)") as progress:
            bench_result(folder, quick=True, progress=progress)
        changed = True
    if changed or not (folder / REPORT).is_file():
        write_reports(folder)
    return Result(folder, up_to_date=not changed, missed=missed_budgets(folder))
