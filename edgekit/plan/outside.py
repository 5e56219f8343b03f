"""Checkpoints from outside the run that compression steps name: where they lie, what they are, and which of them cannot work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.config.recipe import Recipe, method_module
from edgekit.errors import BadInput
from edgekit.models.positions import positions_of
from edgekit.tasks import find_task

__all__ = ["config_of", "digest_of", "named", "outside_faults", "places_of"]

MASK_HEADS = (
    "cls.predictions.", "lm_predictions.", "lm_head.", "vocab_transform.", "generator_predictions.", "predictions.", "decoder.",
)  # fmt: skip
"""How the heads of masked language models are called."""


def named(settings: Any) -> dict[str, list[str]]:
    """Checkpoints that a method's settings name, as written in the recipe, by the field that names them."""
    given = {field: getattr(settings, field) for field in getattr(method_module(settings.method), "CHECKPOINTS", ())}
    return {field: [value] if isinstance(value, str) else list(value) for field, value in given.items() if value}


def places_of(recipe: Recipe, path: Path) -> dict[str, str]:
    """For every checkpoint that a step of `recipe`, read from `path`, names: the folder (meant relative to it) or hub id."""
    written = [name for settings in recipe.compress for names in named(settings).values() for name in names]
    found = {}
    for name in written:
        folder = (path.parent / name).resolve()
        found[name] = str(folder) if folder.is_dir() or name.startswith((".", "/")) else name
    return found


def digest_of(place: str) -> str:
    """Digest of a folder's files; a hub id, with the revision that may follow it after an @, stands for itself.

    Raises:
        BadInput: a folder that is no checkpoint.
    """
    if not Path(place).is_dir():
        return place
    from edgekit.models.files import digest

    return digest(Path(place))


def config_of(place: str | None) -> dict[str, Any]:
    """Configuration of a local checkpoint; nothing of a hub model, or of one that is not there or not readable."""
    try:
        found = json.loads((Path(str(place)) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # the stage that loads the model says what is wrong with it
    return found if isinstance(found, dict) else {}


def outside_faults(recipe: Recipe, original: str | None, places: Mapping[str, str]) -> list[str]:
    """What is wrong with checkpoints that steps name, as far as files here tell. `original`: folder or hub id of the source model."""
    faults = []
    for number, settings in enumerate(recipe.compress, 1):
        where = f"compress {number}, {settings.method}"
        for field, names in named(settings).items():
            for name in names:
                place = places.get(name, name)
                if place != name and not Path(place).is_dir():
                    faults.append(f"{where}, {field}: no such model folder: {name}; a folder is meant relative to the recipe")
                    continue
                faults += [f"{where}, {field}: {name} {fault}" for fault in _unfit(recipe, field, original, place)]
        if settings.method == "distill":
            faults += [f"{where}: {fault}" for fault in _token_faults(recipe, settings, original, places)]
    return faults


def _unfit(recipe: Recipe, field: str, original: str | None, place: str) -> list[str]:
    """Why the checkpoint at `place` cannot be what `field` of a step says."""
    faults = []
    theirs, ours = config_of(place), config_of(original)
    positions = positions_of(theirs)
    if positions is not None and positions < recipe.model.max_length:
        faults.append(f"has positions for {positions} tokens, but max_length is {recipe.model.max_length}")
    if field == "fill_model":
        if not any(name.startswith(MASK_HEADS) for name in _tensors(place)):
            faults.append("has no head that fills masks in its weights; name a masked language model, as pretraining left it")
        return faults
    labels: list[Any] = [config.get("id2label") for config in (theirs, ours)]
    same_task = find_task(recipe.task).named and recipe.model.finetune is None
    if same_task and all(isinstance(one, dict) and one for one in labels):
        if sorted(map(str, labels[0].values())) != sorted(map(str, labels[1].values())):
            faults.append("has other labels than the original")
        elif field != "teachers" and labels[0] != labels[1]:  # what a teacher says is put in order; a student's head is kept
            faults.append("has the original's labels in another order")
    return faults


def _token_faults(recipe: Recipe, settings: Any, original: str | None, places: Mapping[str, str]) -> list[str]:
    """Teachers that cut text otherwise than the student where what they say of each token is compared."""
    task = find_task(recipe.task)
    teachers = [original] if settings.teacher != "none" else []
    teachers += [places.get(name, name) for name in settings.teachers]
    ours = _pieces(places.get(settings.student, settings.student) if settings.student else original)
    compared = teachers if task.per_token else teachers[:1] if settings.looks_inside else []
    wrong = [str(place) for place in compared if ours and _pieces(place) not in ({}, ours)]
    return [
        f"{Path(place).name} cuts text into other tokens than the student, so what it says of each token cannot be compared"
        + ("" if task.per_token else '; set hidden = "none" and relations = "none", or let another teacher be the first')
        for place in wrong
    ]


def _tensors(place: str) -> list[str]:
    """Names in a folder's safetensors files, read from their headers; those of every head where they are not readable."""
    from edgekit.models.shards import tensor_shapes

    try:
        return list(tensor_shapes(Path(place)))
    except BadInput:
        return list(MASK_HEADS)  # the stage that loads the model says what is wrong with it


def _pieces(place: str | None) -> dict[str, Any]:
    """Vocabulary of a local checkpoint's tokenizer; empty where it is not known."""
    try:
        found = json.loads((Path(str(place)) / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    pieces: dict[str, Any] = found if isinstance(found, dict) else {str(number): piece for number, piece in enumerate(found)}
    return pieces
