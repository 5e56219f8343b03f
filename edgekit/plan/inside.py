"""What compression steps name inside the source model, and what they ask of its rows: which of it is not there."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.config.recipe import Recipe
from edgekit.errors import BadInput
from edgekit.plan.sizes import sizes_in
from edgekit.tasks import find_task

__all__ = ["inside_faults"]

HEADS = ("classifier", "classifier.dense", "classifier.out_proj", "pre_classifier", "qa_outputs", "pooler.dense")
"""Linear modules that [model.finetune] may put on an encoder."""
BERT = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "intermediate.dense",
    "output.dense",
)  # fmt: skip
RESHAPING = ("prune-structured", "prune-oneshot", "prune-learned", "prune-gradual")


def inside_faults(recipe: Recipe, original: str | None, config: Mapping[str, Any], places: Mapping[str, str]) -> list[str]:
    """Such faults, as far as files here tell. `original`: folder or hub id of the source model; `config`: what is known of it."""
    faults: list[str] = []
    current: str | None = original
    sizes, own = sizes_in(config), recipe.model.new is not None
    for number, settings in enumerate(recipe.compress, 1):
        where = f"compress {number}, {settings.method}"
        if getattr(settings, "student", None) is not None:
            current, sizes, own = places.get(settings.student, settings.student), {}, False
        targets = getattr(settings, "lora_targets", None) or []
        modules = _modules(recipe, current) if targets else []
        faults += [f"{where}: {fault}" for fault in _absent(targets, modules)]
        if settings.method == "prune-vocabulary" and not own and (kind := _vocabulary(current)) not in (None, "WordPiece"):
            faults.append(f"{where}: the model's vocabulary is {kind}, and only WordPiece can be pruned")
        if settings.method == "prune-unstructured" and settings.pattern is not None:
            group = int(settings.pattern.partition(":")[2])
            wrong = [f"{name} of {size}" for name, size in sizes.items() if name != "heads" and size % group]
            if wrong:
                faults.append(f"{where}: pattern {settings.pattern} does not divide {' and '.join(wrong)}")
        if "alpha" in settings.model_fields_set and settings.alpha < 1 and not find_task(recipe.task).supervised:
            faults.append(
                f"{where}: alpha = {settings.alpha:g} weighs labels, and rows of {recipe.task} have none; leave it out"
            )
        if settings.method in RESHAPING or getattr(settings, "width", None) or getattr(settings, "neurons", None):
            sizes = {}  # what is left of them is known once the step has run
    return faults


def _absent(targets: list[str], modules: list[str]) -> list[str]:
    """Targets that no module ends in, with the nearest that do; none where the modules are not known."""
    endings = sorted({name.split(".", cut)[-1] for name in modules for cut in range(name.count(".") + 1)})
    faults = []
    for target in targets:
        if modules and target not in endings:
            close = difflib.get_close_matches(target, endings, n=3, cutoff=0.3)
            faults.append(f"lora_targets: no module {target!r} in the model; nearest: {', '.join(close) or 'none'}")
    return faults


def _modules(recipe: Recipe, place: str | None) -> list[str]:
    """Paths of the modules with a weight matrix, off the header of a folder's weights; empty where they are not known."""
    if place is None and recipe.model.new is not None:
        return [f"bert.encoder.layer.{layer}.{name}" for layer in range(recipe.model.new.layers) for name in BERT] + list(HEADS)
    from edgekit.models.shards import tensor_shapes

    try:
        shapes = tensor_shapes(Path(str(place)))
        found = [name.removesuffix(".weight") for name, shape in shapes.items() if len(shape) == 2]
    except BadInput:
        return []  # the stage that loads the model says what is wrong with it
    return found + (list(HEADS) if recipe.model.finetune is not None else [])


def _vocabulary(place: str | None) -> str | None:
    """The kind of a local checkpoint's tokenizer; None where it is not known."""
    try:
        return str(json.loads((Path(str(place)) / "tokenizer.json").read_text(encoding="utf-8"))["model"]["type"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
