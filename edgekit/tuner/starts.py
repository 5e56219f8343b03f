"""What a search tries before it draws: the recipe as it is written, and chains that were measured (`edgekit.draft.proven`)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pydantic import ValidationError

from edgekit.compress.registry import find_method
from edgekit.config.recipe import MethodSettings, Recipe
from edgekit.draft.proven import PROVEN, full_steps
from edgekit.errors import BadInput
from edgekit.models.facts import ModelFacts
from edgekit.runtime.jsontypes import JsonObject
from edgekit.tuner.space import Chain, Space, Value, drawn_recipe, values_of
from edgekit.tuner.trial import Given, recipe_key

__all__ = ["begun_with", "measured_chains", "starts_of"]


def starts_of(given: Given, facts: ModelFacts, *, bf16: bool) -> list[Chain]:
    """The chains for a recipe: with its texts without labels, where its task can use them."""
    recipe = given.recipe
    if recipe.data.unlabelled is not None:
        starts = measured_chains(facts, recipe.task, bf16=bf16, texts=True)
        with suppress(BadInput):
            given.plan(recipe.model_copy(update={"compress": list(starts[0])}))
            return starts
    return measured_chains(facts, recipe.task, bf16=bf16)


def measured_chains(facts: ModelFacts, task: str, *, bf16: bool, texts: bool = False) -> list[Chain]:
    """Chains that were measured: what came furthest on this task, in full, then those of several tasks (`benchmarks/methods`) from the most work
    to the least: what is taught afterwards is worth more than what is not, and is what a search of little time should have seen
    (`benchmarks/tune`). Steps that nothing offers for this model are left out."""
    precision, pieces = "bf16" if bf16 else "fp32", None if facts.vocabulary is None else len(facts.vocabulary)
    furthest = full_steps(task, facts.layers, pieces, precision, texts=texts)
    others = [proven.steps(facts.layers, precision) for proven in reversed(PROVEN)]
    return [
        [step for one in steps if (step := _offered(one, facts)) is not None]
        for steps in ([furthest, *others] if furthest else others)
    ]


def _offered(said: JsonObject, facts: ModelFacts) -> MethodSettings | None:
    method = find_method(str(said["method"]))
    if all(search(facts) is None for search in method.search.values()):
        return None
    try:
        settings: MethodSettings = method.settings.model_validate(said)
    except ValidationError:  # a share of so few pieces that there would be fewer than a vocabulary may have
        return None
    return settings


def begun_with(space: Space, recipe: Recipe, starts: Sequence[Chain]) -> list[dict[str, Value]]:
    """What is tried first, in full: the number format alone, which costs seconds; the recipe as it is written and its steps as they can be
    drawn, where it has steps; then `starts`. No recipe twice. Where a number format is all that can be drawn, every one; where there is more, one
    chain in every number format, though it costs no training, is not among them: the sampler then draws little else
    (`benchmarks/tune/modelled.py`)."""
    if space.formats is not None:
        return [*space.formats]
    own = [values_of(space, None), values_of(space, recipe.compress)] if recipe.compress else []
    found: dict[str, dict[str, Value]] = {}
    for drawn in (values_of(space, ()), *own, *(values_of(space, chain) for chain in starts)):
        if drawn is not None:
            found.setdefault(recipe_key(drawn_recipe(space, recipe, lambda name, one, of=drawn: of[name])), drawn)  # type: ignore[misc]
    return list(found.values())
