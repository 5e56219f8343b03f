"""Faults that several methods find, before anything runs and when they run: the same question is asked in one place.

Each function returns what is wrong, in words, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.compress.method import StepContext
from edgekit.config.quantize import WeightOnly
from edgekit.config.recipe import MethodSettings
from edgekit.models.anatomy import REFUSED
from edgekit.models.facts import ModelFacts
from edgekit.models.module_paths import absent_endings

__all__ = ["absent_labels", "absent_modules", "nothing_removed", "rounded_otherwise", "too_many_layers", "unlisted_layers"]


def nothing_removed(setting: str, asked: int | None, have: int | None, *, of: str) -> list[str]:
    """`asked` heads, neurons or layers to keep where there are no more than that; `of`: what has them, "a model" or "blocks"."""
    if asked is None or have is None or asked < have:
        return []
    return [f"{setting} = {asked} removes nothing from {of} of {have}"]


def too_many_layers(asked: int | None, have: int | None) -> list[str]:
    """More layers than the model has that a student starts from."""
    if asked is None or have is None or asked <= have:
        return []
    return [f"a student of {asked} layers cannot start from a model of {have}"]


def rounded_otherwise(block: int, context: StepContext) -> list[str]:
    """A later step, or a target, that leaves the grid of 4 bits and so many rows a scale on which a step has put the weights."""
    faults = [] if context.last else ["later steps would change the weights that it has rounded; put it last, once"]
    for target in context.targets:
        quantize = context.quantize(target)
        if not isinstance(quantize, WeightOnly) or (
            quantize.bits, quantize.block, quantize.rounding, quantize.eight_bits
        ) != (4, block, "clip", None):  # fmt: skip
            faults.append(
                f"{target.name} does not round the weights as this step does; write a [quantize] table with "
                f'format = "int4-weights" and block = {block}'
            )
    return faults


def absent_labels(settings: MethodSettings, alpha: float, context: StepContext) -> list[str]:
    """A weight of hard labels, `alpha`, that the recipe asks for where rows have none."""
    if "alpha" not in settings.model_fields_set or alpha >= 1 or context.task.supervised:
        return []
    return [f"alpha = {alpha:g} weighs labels, and rows of {context.recipe.task} have none; leave it out"]


def absent_modules(targets: Sequence[str] | None, modules: Sequence[str] | None) -> list[str]:
    """Modules that are to get adapters and that no path ends in, each with the nearest that does."""
    if not targets or not modules:
        return []
    return [
        f"lora_targets: no module {target!r} in the model; nearest: {', '.join(nearest) or 'none'}"
        for target, nearest in absent_endings(targets, modules).items()
    ]


def unlisted_layers(model: ModelFacts, fix: str) -> list[str]:
    """An architecture whose layers a method does not find, though it would leave their shape; `fix`: what to do instead."""
    if model.architecture not in REFUSED:
        return []
    return [
        f"finds a model's layers by the names that its family gives them, and those of {model.architecture} are not listed yet; {fix}"
    ]
