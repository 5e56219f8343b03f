"""What a recipe asks for that cannot work, seen from its text and the model's facts before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgekit.compress.method import Method, StepContext
from edgekit.compress.registry import find_method, methods, methods_for
from edgekit.config.recipe import TEXTS, MethodSettings, Recipe
from edgekit.config.target import Target
from edgekit.host import Host
from edgekit.models.anatomy import REFUSED
from edgekit.models.decoders import decoder_types
from edgekit.models.facts import ModelFacts
from edgekit.models.files import NO_TOKENIZER
from edgekit.plan.facts import before_pruning, facts_along
from edgekit.plan.kinds import lowering_of
from edgekit.runtime.providers.names import CPU
from edgekit.tasks import Kind, find_task

__all__ = ["faults_of", "kept_shape", "never"]

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
    recipe. `pairs`: rows have a second text. `alone`: they have no answers, and the original's are what they are compared with.
    `host`: the machine that the plan is for, where one is known.
    """
    faults = [f"{target.name}: {fault}" for target in targets if recipe.quantize for fault in target.unsound(recipe.quantize)]
    faults += lowering_of(find_task(recipe.task)).faults(recipe, targets, original, host)
    faults += _rows_faults(recipe)
    faults += _draft_faults(recipe, targets, original, checkpoints)
    return faults + _step_faults(recipe, targets, original, checkpoints, pairs=pairs, alone=alone)


def _draft_faults(
    recipe: Recipe, targets: list[Target], original: ModelFacts, checkpoints: Mapping[str, ModelFacts]
) -> list[str]:
    """Why the small model that a recipe names cannot guess what its model says."""
    if recipe.draft is None:
        return []
    if find_task(recipe.task).kind != "decoder":
        return ["draft: guesses the next tokens of language models; leave it out"]
    faults = [
        f"draft: {target.name} is no CPU, where alone rows of one run are known to be what they are alone; leave it out"
        for target in targets
        if target.provider != CPU
    ]
    draft, model = checkpoints[recipe.draft.id], facts_along(recipe, original, checkpoints)[-1]
    if draft.checkpoint not in (None, recipe.draft.id) and not Path(str(draft.checkpoint)).is_dir():
        missing = f"draft, id: no such model folder: {recipe.draft.id}; a folder is meant relative to the recipe; checkpoint/ of a result leads into "
        return [*faults, missing + "the store, and comes again with the next run of its recipe"]
    faults += [f"draft, id: {fault}" for fault in (*draft.unreadable, *draft.unserved)]
    if draft.architecture is not None and draft.architecture not in decoder_types():
        faults.append(f"draft, id: no decoder of architecture {draft.architecture!r} is known here")
    if None not in (draft.vocabulary, model.vocabulary) and draft.vocabulary != model.vocabulary:
        faults.append(
            "draft, id: its tokenizer is another one, so that its tokens are not this model's; use a smaller model with the same tokenizer"
        )
    size, largest = _size(draft), _size(model)
    if size is not None and largest is not None and size >= largest:
        faults.append(
            "draft, id: it is as large as the model, so that it guesses no faster than the model says; use a smaller one"
        )
    return faults


def _size(facts: ModelFacts) -> int | None:
    """Weights of a model's blocks, about; None where that is not known."""
    layers, hidden, neurons = facts.layers, facts.hidden_size, facts.intermediate_size
    return None if layers is None or hidden is None or neurons is None else layers * hidden * (4 * hidden + 3 * neurons)


def _rows_faults(recipe: Recipe) -> list[str]:
    """What rows without labels cannot be used for."""
    task, model = find_task(recipe.task), recipe.model
    if not recipe.data.without_labels:
        return []
    shipped = recipe.data.builtin == TEXTS
    where = f'data, builtin = "{TEXTS}"' if shipped else 'data, answers = "original"'
    if task.kind == "encoder" and task.alone is None:
        return [
            f"{where}: texts alone ask nothing of a model for {task.name}; give rows with the columns {', '.join(task.columns)} (--data FILE)"
        ]
    if task.kind == "decoder" and not shipped:
        return [f"{where}: every text says which token comes next, so that {task.name} needs no answers; leave it out"]
    return [
        f"{where}: without labels there is nothing to train on for model, {table}; give rows with labels (--data FILE)"
        for table in ("new", "finetune")
        if getattr(model, table) is not None
    ]


def never(method: Method[Any], recipe: Recipe) -> str | None:
    """Why a method cannot stand in a recipe of this task and these rows, whatever it is set to; None where it may."""
    task = find_task(recipe.task)
    if task.kind not in method.serves:
        return _serves_other(method, task.kind)
    if task.reads not in method.reads:
        others = ", ".join(name for name, one in methods().items() if task.kind in one.serves and task.reads in one.reads)
        return f"serves models that read {' and '.join(method.reads)}s, not {task.reads}s; leave it out; the methods for {task.reads}s are {others}"
    if recipe.data.builtin == TEXTS:
        return "learns from rows or chooses by them, and the texts that are shipped are not yours; give rows (--data FILE)"
    if recipe.data.without_labels and task.supervised:
        return 'learns from labels, and data, answers = "original" says that rows have none; give rows with labels'
    return None


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
    along = facts_along(recipe, original, checkpoints)
    faults = []
    for number, (settings, model) in enumerate(zip(recipe.compress, along, strict=False), 1):
        dense, method = along[before_pruning(along[:number])], find_method(settings.method)
        if (why := never(method, recipe)) is not None:
            step = [why]
        elif (kept := kept_shape(model)) is not None and _shape(model) != _shape(along[number]):
            step = [f"{kept}; leave it out, or its sizes"]
        else:
            context = StepContext(recipe, targets, model, original, dense, checkpoints, number, pairs, alone)
            step = _checkpoint_faults(method, settings, context) + method.check(settings, context)
        faults += [f"compress {number}, {method.name}: {fault}" for fault in step]
    return faults


def kept_shape(model: ModelFacts) -> str | None:
    """Why no step may change the shapes of a model's layers; None where one may."""
    if model.architecture not in REFUSED:
        return None
    return f"changes the shape of layers, and those of {model.architecture} keep theirs, as {REFUSED[model.architecture]}"


def _shape(model: ModelFacts) -> tuple[object, ...]:
    """What is known of the shape of a model's layers."""
    return model.layers, model.hidden_size, model.heads, model.intermediate_size, model.uniform


def _serves_other(method: Method[MethodSettings], kind: Kind) -> str:
    """A step that does not serve `kind`, with what does."""
    served = " and ".join(KINDS[other] for other in method.serves)
    why = f"; {method.why}" if method.why else ""
    others = f"leave it out; the methods for {KINDS[kind]} are {', '.join(methods_for(kind))}"
    return f"serves {served}, not {KINDS[kind]}{why}; " + (f"use {method.instead}" if method.instead else others)


def _checkpoint_faults(method: Method[MethodSettings], settings: MethodSettings, context: StepContext) -> list[str]:
    """Checkpoints that a step names and that are not there, or that cannot read as long an input as the original."""
    faults, encoder = [], find_task(context.recipe.task).kind == "encoder"
    for setting, names in method.named_checkpoints(settings).items():
        for name in names:
            facts = context.checkpoint(name)
            if facts.checkpoint != name and not Path(str(facts.checkpoint)).is_dir():
                faults.append(f"{setting}: no such model folder: {name}; a folder is meant relative to the recipe")
            elif facts.positions is not None and facts.positions < context.recipe.model.max_length:
                faults.append(
                    f"{setting}: {name} has positions for {facts.positions} tokens, but max_length is {context.recipe.model.max_length}"
                )
            elif facts.vocabulary_alone:
                faults.append(f"{setting}: {name} has no tokenizer.json; {NO_TOKENIZER}")
            elif facts.token_ids is not None and facts.token_ids.fault is not None and encoder:
                faults.append(f"{setting}: {name}: {facts.token_ids.fault}")
    return faults
