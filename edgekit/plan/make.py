"""From a recipe and its targets to a plan: all faults at once, or the stages. Nothing runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, TypedDict

from edgekit.config.recipe import Recipe
from edgekit.config.target import WASM, Target, load_target
from edgekit.data.alone import texts_alone
from edgekit.data.sources import sources_of
from edgekit.data.splits import columns_there, forms_there, look, source_digest
from edgekit.errors import BadInput
from edgekit.host import Host
from edgekit.plan.check import faults_of
from edgekit.plan.decoder import draft_stage
from edgekit.plan.facts import (
    before_pruning,
    checkpoint_facts,
    checkpoint_locations,
    facts_along,
    original_facts,
    own_length,
    task_of_head,
)
from edgekit.plan.kinds import lowering_of
from edgekit.plan.needs import needs_of, public_files
from edgekit.plan.plan import BASELINE, BUNDLE, STOCK, Exported, Lowering, Plan, Shared, TargetPlan, Variant, host_facts
from edgekit.plan.published import published
from edgekit.plan.recipes import load_recipe
from edgekit.plan.rows import CTC, row_check
from edgekit.plan.source import source_faults, source_of
from edgekit.plan.stages import (
    absent_columns,
    agreement_stage,
    answers_stage,
    audit_stage,
    calibration_stage,
    compress_stage,
    merge_stage,
    original_stage,
    rows_stage,
)
from edgekit.runtime.jsontypes import JsonValue
from edgekit.runtime.providers.names import CPU
from edgekit.store import Stage
from edgekit.tasks import find_task

__all__ = ["Decided", "decided", "make_plan", "plan_of"]


Who = Literal["recipe", "target", "default"]
Decided = TypedDict("Decided", {"value": JsonValue, "from": Who})
"""A setting's value, and where it comes from."""


def make_plan(recipe_name: str, target_names: list[str], host: Host) -> Plan:
    """Read recipe and targets, and lay out the stages; raises as `plan_of`."""
    name, path, recipe = load_recipe(recipe_name)
    targets = [load_target(target) for target in target_names]
    plan = plan_of(name, path, recipe, targets, host, file=path if recipe_name.endswith(".toml") else None)
    files = [Path(given) if given.endswith(".toml") else None for given in target_names]
    return replace(plan, targets=[replace(item, file=file) for item, file in zip(plan.targets, files, strict=True)])


def plan_of(name: str, path: Path, recipe: Recipe, targets: list[Target], host: Host, *, file: Path | None = None) -> Plan:
    """Check that a recipe, read from `path`, and its targets fit each other, and lay out the stages. `file`: of a recipe that is a file
    of its own.

    Nothing is computed but digests of the data and the source model; rows in small local files are read and checked.

    Raises:
        BadInput: faults in a file or in rows, or a combination that cannot work.
    """
    source = source_of(recipe, path)
    facts = original_facts(recipe, source.model, source.adapter)
    recipe, length_note = own_length(task_of_head(recipe, facts), facts)
    task = find_task(recipe.task)
    sources = sources_of(recipe.data, path.parent, recipe.seed, lines=task.kind == "encoder", here=public_files(recipe))
    without = task.alone
    always = without is not None and without.seen and without.columns == task.columns  # there are no rows with an answer
    alone = without is not None and (sources.without_labels or always or (without.seen and texts_alone(sources, task.columns)))
    wanted, kinds = (without.columns, without.kinds) if without is not None and alone else (task.columns, task.kinds)
    columns = columns_there(sources, wanted, task.optional)
    pairs = "text_pair" in columns
    locations = checkpoint_locations(recipe, path)
    checkpoints = checkpoint_facts(locations)
    faults = faults_of(recipe, targets, facts, checkpoints=checkpoints, pairs=pairs, alone=alone, host=host)
    if source.adapter is not None:
        faults = source_faults(source.adapter, recipe) + faults
    if faults:
        raise BadInput("this recipe cannot work as it is", where=str(path), faults=faults, see="this-recipe-cannot-work")
    digest, own_head = source_digest(sources), task.named and recipe.model.finetune is None and recipe.model.new is None
    known = facts.labels if own_head else None
    check = row_check(recipe, source.tokenizer)
    notes = look(sources, columns, absent_columns(recipe, columns), kinds, known, check)
    written = any(form.conversations for form in forms_there(sources, columns).values())
    rows = rows_stage(
        recipe, columns, kinds, sources, digest, known, source.model if own_head and known is None else None, check,
        writer=(source.model, str(source.digest)) if (written or task.auto == CTC) and source.model is not None else None,
    )  # fmt: skip
    merged = None if source.adapter is None else merge_stage(recipe, source.adapter, str(source.digest))
    original = original_stage(
        recipe, rows, source.model, source.digest, pairs=pairs, merged=merged, vocabulary_alone=facts.vocabulary_alone
    )
    if alone:
        rows = answers_stage(recipe, rows, original)
    models, along = [original], facts_along(recipe, facts, checkpoints)
    for number, settings in enumerate(recipe.compress, 1):
        dense = models[before_pruning(along[:number])]
        step = compress_stage(
            recipe, settings, number=number, source=models[-1], original=original, dense=dense, rows=rows, locations=locations
        )
        models.append(step)
    compressed = models[1:]
    lowering = lowering_of(task)
    chain = [Exported("original", original, lowering.export(recipe, original, "export the original to ONNX"))]
    chain += [
        Exported(stage.name, stage, lowering.export(recipe, stage, f"export after {number}: {stage.name}"))
        for number, stage in enumerate(compressed, 1)
    ]
    agreement = None
    if task.reference is not None and not facts.own_form:
        agreement = agreement_stage(
            recipe,
            rows,
            original,
            chain[0].graph,
            lowering.float_graph,
            source.model if recipe.model.finetune is None else None,
            pairs=pairs,
            merged=merged if recipe.model.finetune is None else None,
        )
    shared = Shared(recipe, rows, calibration_stage(recipe, rows), host)
    plans = [_target_plan(shared, lowering, target, chain) for target in targets]
    if recipe.draft is not None:
        place, positions = locations[recipe.draft.id], checkpoints[recipe.draft.id].positions
        small = [draft_stage(shared, target, place, chain[-1].checkpoint, positions) for target in targets]
        plans = [replace(item, draft=stage) for item, stage in zip(plans, small, strict=True)]
    return Plan(
        name,
        file,
        recipe,
        published(recipe, source.digest, locations),
        lowering,
        rows,
        original,
        agreement,
        compressed,
        plans,
        notes=notes or (),
        model_notes=[note for note in (length_note, source.note) if note],
        needs=needs_of(recipe, path.parent),
        source=source.title,
    )


def decided(recipe: Recipe, target: Target) -> dict[str, Decided]:
    """The number format: each field's value, and whether it comes from the recipe, the target, or edgekit's defaults."""
    quantize = lowering_of(find_task(recipe.task)).number_format(recipe, target)
    taken_whole = recipe.quantize is None and quantize == target.quantize
    by_recipe = recipe.quantize.model_fields_set if recipe.quantize else set()

    def who(name: str) -> Who:
        if name in by_recipe:
            return "recipe"
        from_target = (taken_whole or name == "accuracy_level") and name in target.quantize.model_fields_set
        return "target" if from_target else "default"

    return {name: {"value": value, "from": who(name)} for name, value in quantize.model_dump().items()}


def _target_plan(shared: Shared, lowering: Lowering, target: Target, chain: list[Exported]) -> TargetPlan:
    """The variants of one target. `chain`: the original, and what each compression step made of it."""

    def variant(title: str, model: Stage, checkpoint: Stage, quantized_for: Target | None = None) -> Variant:
        return Variant(
            title, model, checkpoint, lowering.score(shared, checkpoint, model, quantized_for, f"score: {title}", "test")
        )

    def quantized(exported: Exported, title: str) -> Variant:
        model = lowering.quantize(shared, target, exported, f"quantize for {target.name}: {title}")
        return variant(title, model, exported.checkpoint, target)

    original, *steps = chain
    variants = {BASELINE: variant("ONNX Runtime fp32 of the original", original.graph, original.checkpoint)}
    if lowering.stock is not None:
        variants[STOCK] = variant(
            "off-the-shelf dynamic INT8 of the original", lowering.stock(original.graph), original.checkpoint
        )
    if steps:  # else it is the bundle, which is scored and timed once
        variants["after-0-none"] = quantized(original, "the original, not compressed")
    for number, step in enumerate(steps[:-1], 1):
        variants[f"after-{number}-{step.name}"] = quantized(step, f"after {number}: {step.name}")
    variants[BUNDLE] = quantized(chain[-1], "the bundle")
    audit = audit_stage(
        target, lowering.number_format(shared.recipe, target), variants[BUNDLE].model, host_facts(shared.host),
        kernels=bool(shared.host.engines) if target.arch == WASM else target.provider == CPU or target.provider in shared.host.providers,
    )  # fmt: skip
    scores = {
        name: lowering.score(
            shared, variants[name].checkpoint, variants[name].model, target if name == BUNDLE else None,
            f"score on validation rows: {variants[name].title}", "validation",
        )
        for name in (BASELINE, BUNDLE)
    }  # fmt: skip
    return TargetPlan(target, target.matches(shared.host), variants, audit, shared.calibration, scores)
