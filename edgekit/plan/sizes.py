"""Sizes that a recipe asks of a distilled student, followed from step to step: which of them the model does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.config.recipe import Recipe
from edgekit.plan.outside import config_of

__all__ = ["size_faults", "sizes_in"]

NAMES = {
    "width": ("hidden_size", "dim"),
    "heads": ("num_attention_heads", "n_heads"),
    "neurons": ("intermediate_size", "hidden_dim"),
}
"""What configurations call a size; DistilBERT has names of its own."""


def sizes_in(config: Mapping[str, Any]) -> dict[str, int]:
    """Width, heads and neurons as a configuration has them; what it does not say is left out."""
    found = {
        size: next((config[name] for name in names if isinstance(config.get(name), int)), None) for size, names in NAMES.items()
    }
    return {size: value for size, value in found.items() if value is not None}


def size_faults(recipe: Recipe, config: Mapping[str, Any], places: Mapping[str, str], *, alone: bool) -> list[str]:
    """Faults of `width`, `heads`, `neurons` and `student`. `config`: of the original, as far as it is known.

    `alone`: rows are texts alone, so that embeddings are held against the original's.
    """
    faults, original = [], sizes_in(config)
    current = dict(original)
    for number, settings in enumerate(recipe.compress, 1):
        if settings.method != "distill":
            continue
        where = f"compress {number}, distill"
        if settings.student is not None:
            if number > 1:
                faults.append(f"{where}: a `student` of its own drops what the steps before made; put this step first")
            current = sizes_in(config_of(places.get(settings.student, settings.student)))
        for size in NAMES:
            asked = getattr(settings, size)
            if asked is not None and asked > current.get(size, asked):
                faults.append(f"{where}: {size} = {asked} of a model that has {current[size]}")
            current |= {} if asked is None else {size: asked}
        if settings.relations == "attention" and settings.heads is not None and settings.heads < original.get("heads", 0):
            faults.append(
                f"{where}: attention maps of {settings.heads} heads cannot be compared with {original['heads']}; "
                'use relations = "minilmv2"'
            )
        cut = settings.student is not None or settings.width is not None
        widths = [sizes.get("width") for sizes in (current, original)]
        if alone and cut and None not in widths and widths[0] != widths[1]:
            faults.append(
                f"{where}: embeddings of width {widths[0]} have no cosine to the original's of {widths[1]}, which is the "
                "quality of texts alone; keep the width, or give rows of sentence1, sentence2 and score"
            )
    return faults
