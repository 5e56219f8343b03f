"""What a plan consists of: the stages that all targets share, each target's variants, and what differs between kinds of models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from edgekit.config.quantize import Quantize
from edgekit.config.recipe import Recipe
from edgekit.config.target import Target
from edgekit.host import Host
from edgekit.models.facts import ModelFacts
from edgekit.plan.needs import Need
from edgekit.runtime.jsontypes import JsonObject
from edgekit.store import Stage

__all__ = [
    "BASELINE", "BUNDLE", "EVIDENCE", "Exported", "HostFacts", "Lowering", "Plan", "STOCK", "Shared", "Split", "TargetPlan", "Variant", "host_facts",
    "in_order",
]  # fmt: skip

EVIDENCE = "evidence.npy"
"""What a score stage leaves: float64 (rows, numbers), which the task reduces to its metric."""
BASELINE = "ort-fp32"
"""The variant that every other is compared with: the uncompressed model in float32."""
BUNDLE = "bundle"
"""The variant that is packed."""
STOCK = "ort-int8-stock"
"""The variant that onnxruntime's own tool makes of the original, which may fail at it."""
Split: TypeAlias = Literal["validation", "test"]
"""Rows that are scored: what is chosen is chosen on validation rows, what is stated is of test rows."""


@dataclass(frozen=True)
class HostFacts:
    """What of this machine a score or an audit depends on."""

    arch: str
    isa: tuple[str, ...]
    """Instruction sets in edgekit's names, sorted."""


def host_facts(host: Host) -> HostFacts:
    """The facts of `host` that stand in keys."""
    return HostFacts(host.arch, tuple(sorted(host.isa)))


@dataclass(frozen=True)
class Shared:
    """What the stages of all targets share."""

    recipe: Recipe
    rows: Stage
    calibration: Stage
    host: Host


@dataclass(frozen=True)
class Exported:
    """A checkpoint and its float32 ONNX."""

    name: str
    """The compression step that made the checkpoint, or "original"."""
    checkpoint: Stage
    graph: Stage


@dataclass(frozen=True)
class Lowering:
    """From checkpoints to a target's scored graphs: all that differs between the plans of encoders and of decoders."""

    faults: Callable[[Recipe, Sequence[Target], ModelFacts, Host | None], list[str]]
    """(recipe, targets, facts of the original, this machine) -> what cannot work, apart from faults of compression steps."""
    number_format: Callable[[Recipe, Target], Quantize]
    """(recipe, target) -> the number format of the quantized model."""
    export: Callable[[Recipe, Stage, str], Stage]
    """(recipe, checkpoint, title) -> the stage that writes its float32 ONNX."""
    quantize: Callable[[Shared, Target, Exported, str], Stage]
    """(shared, target, checkpoint and graph, title) -> the stage that writes model.onnx in the target's number format."""
    score: Callable[[Shared, Stage, Stage, Target | None, str, Split], Stage]
    """(shared, checkpoint, graph, the target it was quantized for, title, which rows) -> the stage that leaves `EVIDENCE` of them."""
    beside_metric: Callable[[Path, Path, int], JsonObject]
    """(score of the original, score of a variant, seed) -> what is stated of a variant's quality beside the metric."""
    float_graph: Callable[[Path], dict[str, Path]]
    """Folder of an export stage -> files of the float32 graph that is quantized, by their names in a bundle."""
    stock: Callable[[Stage], Stage] | None = None
    """The original's graph -> an off-the-shelf quantization of it, which the bundle is compared with."""


@dataclass(frozen=True)
class Variant:
    """One model that is scored and timed: the stage that writes its model.onnx, and the checkpoint it came from."""

    title: str
    model: Stage
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
    validation: dict[str, Stage]
    """Scores of the baseline and of the bundle on validation rows: what a search chooses by. No run of a single recipe needs them."""
    draft: Stage | None = None
    """The graph of the small model that guesses beside the bundle's."""
    file: Path | None = None
    """The target's file; None of a target that ships with edgekit."""


@dataclass(frozen=True)
class Plan:
    """Everything a run does, in order."""

    name: str
    file: Path | None
    """The recipe's file; None of a recipe that ships with edgekit."""
    recipe: Recipe
    published: Recipe
    """The recipe as results and bundles hold it."""
    lowering: Lowering
    rows: Stage
    original: Stage
    agreement: Stage | None
    """The comparison of the original's answers with its own library's; None where there is no library for it."""
    compressed: Sequence[Stage]
    """One stage a compression step, in the recipe's order."""
    targets: Sequence[TargetPlan]
    notes: Sequence[str] = ()
    """What was found out of the rows and how they are read, where they could be read already."""
    source: str | None = None
    """What the original is called, of an adapter with its base; None where the recipe trains it."""
    model_notes: Sequence[str] = ()
    """What has to be said of the model: how long its inputs may be, where its files say so, and whether a mirror has another."""
    needs: Sequence[Need] = ()
    """What is looked up in mirror and cache, and else fetched before the first stage."""

    def stages(self, only: TargetPlan | None = None) -> list[Stage]:
        """All stages, each key once, after all of its inputs; those of the target `only`, if any."""
        ends: list[Stage] = [] if self.agreement is None else [self.agreement]
        for target in self.targets if only is None else [only]:
            for variant in target.variants.values():
                ends += [variant.model, variant.score]
            ends += [target.calibration, target.audit, *([] if target.draft is None else [target.draft])]
        return in_order(ends)


def in_order(ends: Iterable[Stage]) -> list[Stage]:
    """`ends` and all that they are made of, each key once, after all of its inputs."""
    found: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.key not in found:
            for upstream in stage.inputs.values():
                visit(upstream)
            found[stage.key] = stage

    for stage in ends:
        visit(stage)
    return list(found.values())
