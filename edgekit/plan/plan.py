"""The plan: which stages a recipe and its targets need, and what cannot work, said before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.config.recipe import Recipe
from edgekit.config.target import Target, load_target
from edgekit.data.alone import ALONE, texts_alone
from edgekit.data.splits import columns_there, source_digest
from edgekit.errors import BadInput
from edgekit.host import Host
from edgekit.plan import decoder_stages as stages_causal
from edgekit.plan import stages
from edgekit.plan.check import faults_of
from edgekit.plan.facts import before_pruning, checkpoint_facts, checkpoint_locations, facts_along, original_facts
from edgekit.plan.recipes import load_recipe
from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.providers.names import CPU
from edgekit.store import Stage
from edgekit.tasks import find_task

__all__ = ["Plan", "TargetPlan", "Variant", "decided", "make_plan"]


@dataclass(frozen=True)
class Variant:
    """One model that is scored and timed: the stage that makes it, its file, and the checkpoint it came from."""

    title: str
    model: Stage
    file: str
    checkpoint: Stage
    score: Stage


@dataclass(frozen=True)
class TargetPlan:
    """What one target adds to the shared stages."""

    target: Target
    timed: bool
    """Whether this host may time it."""
    variants: dict[str, Variant]
    audit: Stage
    calibration: Stage


@dataclass(frozen=True)
class Plan:
    """Everything a run does, in order."""

    name: str
    recipe: Recipe
    source: str
    """The recipe's own text, kept in the bundle."""
    rows: Stage
    original: Stage
    compressed: list[Stage]
    """One stage a compression method, in the recipe's order."""
    targets: list[TargetPlan] = field(default_factory=list)

    def stages(self, only: TargetPlan | None = None) -> list[Stage]:
        """All stages, inputs before what reads them, each once; those of one target where `only` is given."""
        last: list[Stage] = []
        for item in self.targets if only is None else [only]:
            for variant in item.variants.values():
                last += [variant.model, variant.score]
            last += [item.calibration, item.audit]
        seen: dict[int, Stage] = {}

        def visit(stage: Stage) -> None:
            if id(stage) not in seen:
                for upstream in stage.inputs.values():
                    visit(upstream)
                seen[id(stage)] = stage

        for stage in last:
            visit(stage)
        return list(seen.values())


def decided(recipe: Recipe, target: Target) -> dict[str, dict[str, Any]]:
    """How numbers are stored: of each field its value and who said so, the recipe, the target, or edgekit's default."""
    speaks = find_task(recipe.task).kind == "decoder"
    chosen = stages_causal.weights_of(recipe, target) if speaks else target.chosen(recipe.quantize)
    own = recipe.quantize is None and chosen == target.quantize  # what the target says is taken whole
    said = recipe.quantize.model_fields_set if recipe.quantize else set()

    def who(name: str) -> str:
        if name in said:
            return "recipe"
        return "target" if (own or name == "accuracy_level") and name in target.quantize.model_fields_set else "default"

    return {name: {"value": value, "from": who(name)} for name, value in chosen.model_dump().items()}


def make_plan(recipe_name: str, target_names: list[str], host: Host) -> Plan:
    """Read recipe and targets, check that they fit each other, and lay out the stages.

    Nothing is computed but digests of the data and the source model.

    Raises:
        BadInput: faults in a file, or a combination that cannot work.
    """
    name, path, recipe = load_recipe(recipe_name)
    targets = [load_target(target) for target in target_names]
    task = find_task(recipe.task)
    source, model_digest = _model(recipe, path)
    asked = _asked(recipe, path)
    alone = bool(task.alone) and texts_alone(asked, task.columns)
    columns = ALONE if alone else columns_there(asked, task.columns, task.optional)
    pairs = "text_pair" in columns
    locations = checkpoint_locations(recipe, path)
    facts, checkpoints = original_facts(recipe, source), checkpoint_facts(locations)
    faults = faults_of(recipe, targets, facts, checkpoints=checkpoints, pairs=pairs, alone=alone, host=host)
    if faults:
        raise BadInput("this recipe cannot work as it is", where=str(path), faults=faults)
    rows = stages.rows_stage(recipe, columns, asked, source_digest(asked))
    original = stages.original_stage(recipe, rows, source, model_digest, pairs=pairs)
    if alone:
        rows = stages.answers_stage(recipe, rows, original)
    chain, along = [original], facts_along(recipe, facts, checkpoints)
    for number, settings in enumerate(recipe.compress, 1):
        dense = chain[before_pruning(along[:number])]
        step = stages.compress_stage(
            recipe, settings, number=number, source=chain[-1], original=original, dense=dense, rows=rows, locations=locations
        )
        chain.append(step)
    compressed = chain[1:]
    if task.kind == "decoder":
        graphs = [stages_causal.export_decoder_stage(recipe, original, "write the original's graph")]
        graphs += [
            stages_causal.export_decoder_stage(recipe, stage, f"write the graph after {number}: {stage.name}")
            for number, stage in enumerate(compressed, 1)
        ]
        decoders = [_decoder_plan(recipe, target, host, rows, [original, *compressed], graphs) for target in targets]
        return Plan(name, recipe, path.read_text(encoding="utf-8"), rows, original, compressed, decoders)
    exports = [stages.export_stage(recipe, original, "export the original to ONNX")]
    exports += [
        stages.export_stage(recipe, stage, f"export after {number}: {stage.name}") for number, stage in enumerate(compressed, 1)
    ]
    stock = stages.stock_stage(exports[0])
    plans = [_target_plan(recipe, target, host, rows, [original, *compressed], exports, stock) for target in targets]
    return Plan(name, recipe, path.read_text(encoding="utf-8"), rows, original, compressed, plans)


def _target_plan(
    recipe: Recipe, target: Target, host: Host, rows: Stage, chain: list[Stage], exports: list[Stage], stock: Stage
) -> TargetPlan:
    calibration = stages.calibration_stage(recipe, rows)
    here = {"arch": host.arch, "isa": sorted(host.isa)}
    timed = target.matches(host)

    def variant(title: str, model: Stage, file: str, checkpoint: Stage, provider: str = CPU, **config: str) -> Variant:
        scored = stages.score_stage(
            recipe, checkpoint, model, file, rows, here, f"score: {title}", provider=provider, config=config
        )
        return Variant(title, model, file, checkpoint, scored)

    def lowered(checkpoint: Stage, exported: Stage, title: str) -> Variant:
        made = stages.quantize_stage(
            recipe, target, checkpoint, exported, calibration, rows, timed=timed, title=f"quantize for {target.name}: {title}"
        )
        own = (recipe.quantize or target.quantize).format == "bf16"  # the CPU provider has no kernels for it
        return variant(title, made, MODEL, checkpoint, target.provider if own else CPU, **target.stand_in)

    original = chain[0]
    variants = {
        "ort-fp32": variant("ONNX Runtime fp32 of the original", exports[0], MODEL, original),
        "ort-int8-stock": variant("off-the-shelf dynamic INT8 of the original", stock, MODEL, original),
        "after-0-none": lowered(original, exports[0], "the original, not compressed"),
    }
    for number, (stage, exported) in enumerate(zip(chain[1:-1], exports[1:-1], strict=True), 1):
        variants[f"after-{number}-{stage.name}"] = lowered(stage, exported, f"after {number}: {stage.name}")
    variants["bundle"] = lowered(chain[-1], exports[-1], "the bundle")
    audit = stages.audit_stage(recipe, target, variants["bundle"].model, here | _offers(target, host))
    return TargetPlan(target, timed, variants, audit, calibration)


def _decoder_plan(
    recipe: Recipe, target: Target, host: Host, rows: Stage, chain: list[Stage], graphs: list[Stage]
) -> TargetPlan:
    """A language model's stages. `chain`: the original and what each step made of it; `graphs`: theirs, in fp32."""
    here = {"arch": host.arch, "isa": sorted(host.isa)}
    calibration = stages.calibration_stage(recipe, rows)

    def variant(title: str, model: Stage, checkpoint: Stage) -> Variant:
        scored = stages_causal.score_decoder_stage(recipe, checkpoint, model, rows, here, f"score: {title}")
        return Variant(title, model, MODEL, checkpoint, scored)

    def lowered(number: int, title: str) -> Variant:
        made = stages_causal.quantize_decoder_stage(
            recipe, target, chain[number], graphs[number], calibration, f"quantize for {target.name}: {title}"
        )
        return variant(title, made, chain[number])

    variants = {"ort-fp32": variant("ONNX Runtime fp32 of the original", graphs[0], chain[0])}
    if len(chain) > 1:
        variants["after-0-none"] = lowered(0, "the original, not compressed")
    for number, stage in enumerate(chain[1:-1], 1):
        variants[f"after-{number}-{stage.name}"] = lowered(number, f"after {number}: {stage.name}")
    variants["bundle"] = lowered(len(chain) - 1, "the bundle")
    made = variants["bundle"].model
    audit = stages.audit_stage(recipe, target, made, here | _offers(target, host), stages_causal.weights_of(recipe, target))
    return TargetPlan(target, target.matches(host), variants, audit, calibration)


def _offers(target: Target, host: Host) -> dict[str, Any]:
    """Whether the audit can see the target's own kernels here: part of its key, where they are not the CPU's."""
    return {} if target.provider == CPU else {"provider": target.provider in host.providers}


def _asked(recipe: Recipe, path: Path) -> dict[str, Any]:
    """What to read, with paths made absolute."""
    asked = {key: value for key, value in recipe.data.model_dump().items() if value not in (None, {})}

    def absolute(given: str) -> str:
        return given if given.startswith("hub:") else str((path.parent / given).resolve())

    for split in ("train", "validation", "test", "unlabelled"):
        if given := asked.get(split):
            asked[split] = absolute(given) if isinstance(given, str) else [absolute(source) for source in given]
    if "builtin" in asked:
        asked["seed"] = recipe.seed
    return asked


def _model(recipe: Recipe, path: Path) -> tuple[str | None, str | None]:
    """(folder or hub id, digest) of the source model; a folder is meant relative to the recipe."""
    if recipe.model.id is None:
        return None, None
    folder = (path.parent / recipe.model.id).resolve()
    if folder.is_dir():
        from edgekit.models.files import digest

        return str(folder), digest(folder)
    if recipe.model.id.startswith((".", "/")):
        raise BadInput(
            "no such model folder", where=str(folder), fix="check [model] id; a folder is meant relative to the recipe"
        )
    return recipe.model.id, f"{recipe.model.id}@{recipe.model.revision}"
