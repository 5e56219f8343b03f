"""What a recipe asks for that cannot work, seen from its text and the model's facts before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from edgekit.compress.method import Method, StepContext
from edgekit.compress.registry import find_method, methods_for
from edgekit.config.quantize import Float16, WeightOnly
from edgekit.config.recipe import MethodSettings, Recipe
from edgekit.config.target import Target
from edgekit.host import Host
from edgekit.models.facts import ModelFacts
from edgekit.plan.facts import before_pruning, facts_along
from edgekit.runtime.providers.names import CPU, CUDA
from edgekit.tasks import Kind, find_task

__all__ = ["faults_of"]

LEARNED_POSITIONS = {"gpt2", "opt"}
"""Decoders that add a table's row to each token."""
KINDS: dict[Kind, str] = {"encoder": "encoders", "decoder": "language models"}


def faults_of(
    recipe: Recipe,
    targets: list[Target],
    original: ModelFacts,
    *,
    checkpoints: Mapping[str, ModelFacts] = MappingProxyType({}),
    pairs: bool = False,
    alone: bool = False,
    host: Host | None = None,
) -> list[str]:
    """Every such fault, in words.

    `original`: what is known of the uncompressed model. `checkpoints`: of each checkpoint that steps name, by its name in the
    recipe. `pairs`: rows have a second text. `alone`: they are texts alone, whose embeddings are compared with the original's.
    `host`: the machine that the plan is for, where one is known.
    """
    faults = [f"{target.name}: {fault}" for target in targets if recipe.quantize for fault in target.unsound(recipe.quantize)]
    steps = _step_faults(recipe, targets, original, checkpoints, pairs=pairs, alone=alone)
    if find_task(recipe.task).kind == "decoder":
        return faults + steps + _decoder_faults(recipe, targets, original.architecture)
    return faults + _encoder_faults(recipe, original) + steps + (_host_faults(recipe, targets, host) if host else [])


def _step_faults(
    recipe: Recipe,
    targets: list[Target],
    original: ModelFacts,
    checkpoints: Mapping[str, ModelFacts],
    *,
    pairs: bool,
    alone: bool,
) -> list[str]:
    """What is wrong with compression steps, each on the model as the steps before it leave it."""
    kind = find_task(recipe.task).kind
    along = facts_along(recipe, original, checkpoints)
    faults = []
    for number, (settings, model) in enumerate(zip(recipe.compress, along, strict=False), 1):
        dense, method = along[before_pruning(along[:number])], find_method(settings.method)
        if kind not in method.serves:
            step = [_serves_other(method, kind)]
        else:
            context = StepContext(recipe, targets, model, original, dense, checkpoints, number, pairs, alone)
            step = _checkpoint_faults(method, settings, context) + method.check(settings, context)
        faults += [f"compress {number}, {method.name}: {fault}" for fault in step]
    return faults


def _serves_other(method: Method[MethodSettings], kind: Kind) -> str:
    """A step that does not serve `kind`, with what does."""
    served = " and ".join(KINDS[other] for other in method.serves)
    why = f"; {method.why}" if method.why else ""
    others = f"leave it out; the methods for {KINDS[kind]} are {', '.join(methods_for(kind))}"
    return f"serves {served}, not {KINDS[kind]}{why}; " + (f"use {method.instead}" if method.instead else others)


def _checkpoint_faults(method: Method[MethodSettings], settings: MethodSettings, context: StepContext) -> list[str]:
    """Checkpoints that a step names and that are not there, or that cannot read as long an input as the original."""
    faults = []
    for setting, names in method.named_checkpoints(settings).items():
        for name in names:
            facts = context.checkpoint(name)
            if facts.checkpoint != name and not Path(str(facts.checkpoint)).is_dir():
                faults.append(f"{setting}: no such model folder: {name}; a folder is meant relative to the recipe")
            elif facts.positions is not None and facts.positions < context.recipe.model.max_length:
                faults.append(
                    f"{setting}: {name} has positions for {facts.positions} tokens, but max_length is {context.recipe.model.max_length}"
                )
    return faults


def _encoder_faults(recipe: Recipe, original: ModelFacts) -> list[str]:
    """What encoders cannot be asked for: training that the rows cannot give, columns that they are not read by, and inputs that the
    model has no positions for."""
    task, faults = find_task(recipe.task), []
    if isinstance(recipe.quantize, WeightOnly) and recipe.quantize.cache != "float32":
        faults.append(f'quantize, cache = "{recipe.quantize.cache}": only a language model has a cache; leave it out')
    known = {*task.columns, *task.optional, *(["text"] if task.alone or recipe.data.unlabelled else [])}
    faults += [
        f"data, columns: {name!r} is no column of {recipe.task}, whose rows have {', '.join(sorted(known))}"
        for name in sorted(set(recipe.data.columns) - known)
    ]
    tables = [table for table in ("new", "finetune") if getattr(recipe.model, table) is not None]
    if tables and not task.supervised:
        faults.append(f"model, {tables[0]}: rows of {recipe.task} do not say what to learn; name a trained model with `id`")
    positions = original.positions
    if positions is not None and recipe.model.max_length > positions:
        faults.append(f"model, max_length: {recipe.model.max_length} tokens, but the model has positions for {positions}")
    return faults


def _decoder_faults(recipe: Recipe, targets: list[Target], architecture: str | None) -> list[str]:
    """What language models cannot be asked for."""
    from edgekit.models.decoders import decoder_types

    faults = []
    if architecture is not None and architecture not in decoder_types():
        known = ", ".join(decoder_types())
        faults.append(f"model: no decoder of architecture {architecture!r} is known here; use one of {known}")
    if recipe.model.finetune is not None:
        faults.append("model, finetune: puts a new head on an encoder; a language model has its head")
    if recipe.quantize and not isinstance(recipe.quantize, WeightOnly | Float16):
        faults.append(
            f'quantize, format = "{recipe.quantize.format}": a language model takes "int8-weights", "int4-weights" or, on a GPU, "float16"'
        )
    faults += [
        f"{target.name}: language models are lowered for the CPU and the CUDA provider; their attention is no operator of {target.provider}"
        for target in targets
        if target.provider not in (CPU, CUDA)
    ]
    faults += [
        f"{target.name}: {architecture} looks its positions up by numbers that ONNX Runtime keeps on the CPU; export it for a CPU"
        for target in targets
        if target.provider == CUDA and architecture in LEARNED_POSITIONS
    ]
    return faults


def _host_faults(recipe: Recipe, targets: list[Target], host: Host) -> list[str]:
    """Number formats that this machine could write and neither audit nor score."""
    return [
        f"{target.name}: bf16 has kernels on the {target.provider} alone, and this machine, which has to audit and score the "
        "result, is without it; export it where the provider is, or use float16"
        for target in targets
        if (recipe.quantize or target.quantize).format == "bf16"
        and target.provider != CPU
        and target.provider not in host.providers
    ]
