"""The models of a recipe before anything runs: the original, the checkpoints that steps name, and what each step leaves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.compress.registry import find_method
from edgekit.config.recipe import Recipe
from edgekit.models.adapter import Adapter, facts_of_adapter
from edgekit.models.facts import HEADS, ModelFacts, facts_of_checkpoint, facts_of_new
from edgekit.models.hub import find_checkpoint, is_hub_id
from edgekit.tasks import Kind, Task, find_task

__all__ = [
    "task_of_head",
    "before_pruning",
    "checkpoint_facts",
    "checkpoint_locations",
    "digest_of",
    "facts_along",
    "known_length",
    "most_length",
    "original_facts",
    "own_length",
]

TASK_OF = {"labels": "multi-label-classification", "number": "text-regression"}
"""Kind of a head -> the task of a model with it that a recipe calls text-classification."""

SHORTEST = 8
MOST_UNASKED: dict[Kind, int] = {"encoder": 512, "decoder": 2048}
"""Tokens of an input at most where a recipe does not say how many; longer ones cost memory that nobody asked for."""


def checkpoint_locations(recipe: Recipe, path: Path) -> dict[str, str]:
    """For every checkpoint that a step of `recipe`, read from `path`, names: the folder (meant relative to it, or of a hub model that
    is here) or hub id."""
    written = [
        name
        for settings in recipe.compress
        for names in find_method(settings.method).named_checkpoints(settings).values()
        for name in names
    ]
    written += [recipe.draft.id] if recipe.draft is not None else []
    locations = {}
    for name in written:
        folder = Path(os.path.realpath(path.parent / name))
        if not is_hub_id(name, path.parent):
            locations[name] = str(folder)
        else:
            located = find_checkpoint(name)
            locations[name] = name if located is None else str(located.path)
    return locations


def checkpoint_facts(locations: Mapping[str, str]) -> dict[str, ModelFacts]:
    """Facts of each checkpoint that steps name, by its name in the recipe. `locations`: its folder or hub id."""
    return {name: facts_of_checkpoint(location) for name, location in locations.items()}


def digest_of(location: str) -> str:
    """Digest of a folder's files; a hub id, with the revision that may follow it after an @, stands for itself.

    Raises:
        BadInput: a folder that is no checkpoint.
    """
    if not Path(location).is_dir():
        return location
    from edgekit.models.files import digest

    return digest(Path(location))


def original_facts(recipe: Recipe, source: str | None, adapter: Adapter | None = None) -> ModelFacts:
    """Facts of the uncompressed model. `source`: its folder or hub id, None where the recipe trains one; an `adapter` with its base."""
    if recipe.model.new is not None:
        return facts_of_new(recipe.model.new, decoder=find_task(recipe.task).kind == "decoder")
    if source is None:
        return ModelFacts()
    facts = facts_of_checkpoint(source) if adapter is None else facts_of_adapter(adapter)
    if recipe.model.finetune is None:
        return facts
    modules = None if facts.modules is None else (*facts.modules, *HEADS)
    return replace(facts, labels=None, head=None, modules=modules)  # the head is new, and named by the rows


def task_of_head(recipe: Recipe, original: ModelFacts) -> Recipe:
    """`recipe`, for the task that transformers' text-classification pipeline does with the head of its model: what each label means
    is the model's to say."""
    if recipe.task != "text-classification" or original.head is None or original.head.kind not in TASK_OF:
        return recipe
    return recipe.model_copy(update={"task": TASK_OF[original.head.kind]})


def before_pruning(models: Sequence[ModelFacts]) -> int:
    """Which of `models`, the original and what each step left, is the last from before the first pruning."""
    return next((number for number, facts in enumerate(models) if facts.pruned), len(models)) - 1


def facts_along(recipe: Recipe, original: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> list[ModelFacts]:
    """Facts of the original, and of what each step of `recipe` leaves, in order."""
    along = [original]
    for settings in recipe.compress:
        along.append(find_method(settings.method).transform(settings, along[-1], checkpoints))
    return along


def known_length(task: Task, original: ModelFacts) -> int | None:
    """Tokens of the longest input, by the model's files, at most MOST_UNASKED; None where they do not say."""
    most = most_length(task, original)
    return None if most is None else max(SHORTEST, min(most, MOST_UNASKED[task.kind]))


def most_length(task: Task, original: ModelFacts) -> int | None:
    """Tokens of the longest input that the model's files allow; None where they do not say."""
    return min(_lengths(task, original), default=None)


def _lengths(task: Task, original: ModelFacts) -> list[int]:
    """Every length that a model's files give its inputs."""
    sentence = original.sentence.longest if original.sentence is not None and task.auto == "AutoModel" else None
    return [length for length in (sentence, original.longest, original.positions) if length is not None]


def own_length(recipe: Recipe, original: ModelFacts) -> tuple[Recipe, str | None]:
    """`recipe`, with the length that its model cuts texts at where it asks for none, and what is said of that; itself where it does, where
    it trains a model from nothing, and where nothing is known of the model."""
    if recipe.model.id is None or "max_length" in recipe.model.model_fields_set:
        return recipe, None
    task = find_task(recipe.task)
    length, most = known_length(task, original), most_length(task, original)
    if length is None or most is None:
        return recipe, None
    cut = " (it has more: ask for them with max_length)" if length < most else ""
    model = recipe.model.model_copy(update={"max_length": length})
    return recipe.model_copy(
        update={"model": model}
    ), f"max_length = {length}, as the model's files say, since the recipe names none{cut}"
