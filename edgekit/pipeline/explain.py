"""The plan as a document: stages, keys, what is done already, and who decided each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from edgekit.config.target import best_target
from edgekit.host import detect
from edgekit.pipeline.folder import check_results
from edgekit.pipeline.pack_stage import pack_stage
from edgekit.plan.make import Decided, decided, make_plan
from edgekit.plan.needs import Fetched, check_disk, with_sizes
from edgekit.plan.plan import host_facts
from edgekit.store import find

__all__ = ["Explanation", "PlannedStage", "PlannedTarget", "explain"]


class PlannedStage(TypedDict):
    """One stage of a plan."""

    stage: str
    title: str
    key: str
    state: str
    """"done", "to run", or "corrupt: " with the reason."""
    reads: Sequence[str]
    """Fields of the target."""


class PlannedTarget(TypedDict):
    """What a plan does for one target."""

    target: str
    measured_here: bool
    quantize: Mapping[str, Decided]


class Explanation(TypedDict):
    """What `edgekit plan` prints."""

    recipe: str
    task: str
    """As the model's head says it, where the recipe says text-classification."""
    stages: list[PlannedStage]
    targets: list[PlannedTarget]
    notes: list[str]
    """What was found out of model and rows, and how they are read."""
    needs: list[Fetched]
    """What is looked up in mirror and cache, and else fetched before the first stage."""


def explain(recipe: str, targets: list[str], build: Path, *, as_if: Path | None = None) -> Explanation:
    """What a run of `recipe` for `targets` would do; nothing is run or fetched; servers are asked for the sizes of what would be.
    `as_if`: where the recipe is going to lie, if it lies elsewhere now.

    Raises:
        BadInput: faults in a file, or a combination that cannot work.
        NotPossibleHere: the disk is too small for what would be fetched.
    """
    host = detect()
    plan = make_plan(recipe, targets or [best_target(host).name], host)
    check_results(plan if as_if is None else replace(plan, file=as_if), build)
    needs = with_sizes(plan.needs)
    check_disk(needs)
    stages: dict[str, PlannedStage] = {}
    for item in plan.targets:
        for stage in [*plan.stages(item), pack_stage(plan, item, host_facts(host))]:
            if stage.key in stages:
                continue
            artifact, corrupt = find(build, stage)
            state = f"corrupt: {corrupt}" if corrupt else ("done" if artifact else "to run")
            stages[stage.key] = {
                "stage": stage.name, "title": stage.title, "key": stage.key, "state": state, "reads": sorted(stage.target_fields),
            }  # fmt: skip
    planned: list[PlannedTarget] = [
        {"target": item.target.name, "measured_here": item.timed, "quantize": decided(plan.recipe, item.target)}
        for item in plan.targets
    ]
    return {
        "recipe": plan.name, "task": plan.recipe.task, "stages": list(stages.values()), "targets": planned,
        "notes": [*plan.model_notes, *plan.notes], "needs": [need.document() for need in needs],
    }  # fmt: skip
