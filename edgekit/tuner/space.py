"""What a search draws: a chain of steps, the settings of each, and the number format; by what methods and formats declare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, TypeAlias

from pydantic import TypeAdapter

from edgekit.compress.method import PLACES, Method, Place
from edgekit.compress.registry import find_method, methods
from edgekit.config.quantize import Quantize
from edgekit.config.recipe import MethodSettings, Recipe, TrainingSettings
from edgekit.config.search import Choice, Range, Ranges
from edgekit.models.facts import ModelFacts
from edgekit.plan.check import kept_shape, never
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.tasks import find_task

__all__ = [
    "DRAWN",
    "NOTHING",
    "Chain",
    "Draw",
    "Space",
    "Value",
    "drawn_recipe",
    "place_steps",
    "shortened",
    "space_of",
    "untrained",
    "values_of",
]

Value: TypeAlias = str | int | float | bool | None
Draw: TypeAlias = Callable[[str, Range], Value]
"""(name of what is drawn, its range) -> a value."""
Chain: TypeAlias = Sequence[MethodSettings]
"""Compression steps, in order."""
CHAIN, WRITTEN, DRAWN = "chain", "as written", "drawn"
"""Whether the steps are those of the recipe that was given, where it has any, or are drawn."""
NOTHING = "nothing"
"""No step in a place."""
RESHAPING: tuple[Place, ...] = ("student", "structure")
"""Places of steps that change the shapes of layers."""
QUANTIZE: TypeAdapter[Quantize] = TypeAdapter(Quantize)


@dataclass(frozen=True)
class Space:
    """All that may be drawn."""

    places: Mapping[Place, Mapping[str, Ranges]]
    """For each place of a chain the methods that may stand there, with their ranges."""
    kept: Mapping[tuple[Place, str], JsonObject]
    """Settings that are not drawn, of a method in a place: what the recipe says, else the first chain that a search starts with, else what this
    machine trains fastest with."""
    quantize: Quantize
    """The number format; what it declares to be searched is drawn."""
    written: tuple[JsonObject, ...]
    """The steps of the recipe as it was given."""
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Why methods that serve such models are not drawn -> their names."""

    @property
    def formats(self) -> list[dict[str, Value]] | None:
        """All that can be drawn, where that is a number format alone; None where there is more."""
        ranges = {f"quantize.{name}": one for name, one in self.quantize.search.items()}
        if self.places or self.written or not all(isinstance(one, Choice) for one in ranges.values()):
            return None
        return [dict(zip(ranges, values, strict=True)) for values in product(*(one.ends for one in ranges.values()))]

    def document(self) -> JsonObject:
        """The space as JSON: another space, another study."""
        places: dict[str, JsonValue] = {
            place: {method: _as_json(ranges) for method, ranges in offered.items()} for place, offered in self.places.items()
        }
        kept: dict[str, JsonValue] = {f"{place}.{method}": dict(said) for (place, method), said in self.kept.items()}
        return {
            "places": places, "kept": kept, "quantize": self.quantize.model_dump(mode="json"), "drawn": _as_json(self.quantize.search),
            "written": list(self.written), WRITTEN: bool(self.written),
            "versions": {name: find_method(name).version for name in sorted(_named(self))},
        }  # fmt: skip


def space_of(recipe: Recipe, original: ModelFacts, quantize: Quantize, starts: Sequence[Chain], *, bf16: bool) -> Space:
    """The space around `recipe`, for a model of which `original` is known and the number format `quantize`.

    `starts`: chains that have to lie in it, for which ranges are widened. `bf16`: this machine trains faster in bfloat16.
    """
    places: dict[Place, dict[str, Ranges]] = {}
    kept: dict[tuple[Place, str], JsonObject] = {}
    left_out: dict[str, list[str]] = {}
    task = find_task(recipe.task)
    for place in PLACES:
        for name, method in methods().items():
            search = method.search.get(place)
            serves = task.kind in method.serves and task.reads in method.reads
            ranges = None if search is None or not serves else search(original)
            if ranges is None:
                continue
            why = (
                never(method, recipe)
                or (kept_shape(original) if place in RESHAPING else None)
                or _unformatted(method, quantize)
            )
            if why is not None:
                left_out.setdefault(why, []).append(name)
                continue
            of_texts = method.of_texts if task.reads != "text" else ()
            places.setdefault(place, {})[name] = {setting: one for setting, one in ranges.items() if setting not in of_texts}
            kept[place, name] = {"precision": "bf16"} if bf16 and issubclass(method.settings, TrainingSettings) else {}
    written = tuple(_said(step) for step in recipe.compress)
    space = Space(places, kept, quantize, written, {why: sorted(set(names)) for why, names in left_out.items()})
    own = place_steps(space, recipe.compress)
    for place, step in (
        *(one for chain in reversed(starts) for one in (place_steps(space, chain) or {}).items()),
        *(own or {}).items(),
    ):
        drawn = {"method", *places[place][step.method]}
        kept[place, step.method] = {name: value for name, value in _said(step).items() if name not in drawn}
    for chain in (recipe.compress, *starts):
        for place, step in (place_steps(space, chain) or {}).items():
            ranges = places[place][step.method]
            places[place][step.method] = {name: _widened(one, getattr(step, name)) for name, one in ranges.items()}
    return space


def _unformatted(method: Method[Any], quantize: Quantize) -> str | None:
    """Why a method cannot stand before the number format `quantize`, whatever is drawn of it; None where it may."""
    for name, wanted in method.number_format.items():
        drawn = quantize.search.get(name)
        if wanted not in (drawn.ends if drawn is not None else (getattr(quantize, name, None),)):
            return f"needs a number format with {name} = {wanted!r} ([quantize])"
    return None


def place_steps(space: Space, chain: Chain) -> dict[Place, MethodSettings] | None:
    """Where each step of `chain` stands in the space; None where it cannot be drawn."""

    def fits(place: Place, step: MethodSettings) -> bool:
        ranges = space.places.get(place, {}).get(step.method)
        return ranges is not None and all(_may_be(one, getattr(step, name)) for name, one in ranges.items())

    def placed(steps: Sequence[MethodSettings], left: Sequence[Place]) -> dict[Place, MethodSettings] | None:
        if not steps:
            return {}
        for number, place in enumerate(left):
            if fits(place, steps[0]) and (rest := placed(steps[1:], left[number + 1 :])) is not None:
                return {place: steps[0], **rest}
        return None

    return placed(chain, PLACES)


def values_of(space: Space, chain: Chain | None) -> dict[str, Value] | None:
    """What has to be drawn for `chain`, in the target's own number format; None where it cannot be; without a chain, for the recipe's own
    steps as they are written."""
    values: dict[str, Value] = {CHAIN: WRITTEN if chain is None else DRAWN} if space.written else {}
    values |= {f"quantize.{name}": getattr(space.quantize, name) for name in space.quantize.search}
    if chain is None and space.written:
        return values
    chain = chain or ()
    places = place_steps(space, chain)
    if places is None:
        return None
    for place, offered in space.places.items():
        step = places.get(place)
        values[place] = NOTHING if step is None else step.method
        if step is not None:
            values |= {f"{place}.{step.method}.{name}": getattr(step, name) for name in offered[step.method]}
    return values


def drawn_recipe(space: Space, recipe: Recipe, draw: Draw) -> Recipe:
    """`recipe` with other steps and another number format, by what `draw` gives.

    Raises:
        ValueError: values that a method's settings, or the number format, refuse together.
    """
    as_written = (
        bool(space.written) and draw(CHAIN, Choice((WRITTEN, DRAWN))) == WRITTEN
    )  # no step is drawn often enough as no step
    said = list(space.written) if as_written else list(_drawn_steps(space, draw))
    steps = [find_method(str(step["method"])).settings.model_validate(step) for step in said]
    taken = {name: wanted for step in said for name, wanted in find_method(str(step["method"])).number_format.items()}
    quantize = recipe.quantize if not space.quantize.search else QUANTIZE.validate_python(
        {
            **space.quantize.model_dump(mode="json", exclude={"accuracy_level"}),  # the target says it
            **{name: taken[name] if name in taken else draw(f"quantize.{name}", one) for name, one in space.quantize.search.items()},
        }
    )  # fmt: skip
    return recipe.model_copy(update={"compress": steps, "quantize": quantize})


def _drawn_steps(space: Space, draw: Draw) -> Iterator[JsonObject]:
    for place, offered in space.places.items():
        method = str(draw(place, Choice((NOTHING, *offered))))
        if method != NOTHING:
            settings = {name: draw(f"{place}.{method}.{name}", one) for name, one in offered[method].items()}
            yield {"method": method, **space.kept[place, method], **settings}


def shortened(recipe: Recipe, share: float) -> Recipe:
    """`recipe` with steps that train for `share` of their epochs, each for one at least."""
    steps = [
        step.model_copy(update={"epochs": max(1, round(share * step.epochs))}) if find_method(step.method).trains else step  # type: ignore[attr-defined]
        for step in recipe.compress
    ]
    return recipe.model_copy(update={"compress": steps})


def untrained(recipe: Recipe) -> Recipe | None:
    """`recipe` with steps that leave the same shapes without training; None where nothing trains, or training decides the shapes."""
    shaping = [find_method(step.method).shaping(step) for step in recipe.compress]
    if None in shaping or not any(find_method(step.method).trains for step in recipe.compress):
        return None
    return recipe.model_copy(update={"compress": [step for steps in shaping if steps is not None for step in steps]})


def _said(step: MethodSettings) -> JsonObject:
    """The settings that a recipe says of a step."""
    document: JsonObject = step.model_dump(mode="json", exclude_unset=True)
    return {"method": step.method, **document}


def _named(space: Space) -> set[str]:
    return {name for offered in space.places.values() for name in offered} | {str(step["method"]) for step in space.written}


def _may_be(one: Range, value: object) -> bool:
    """Whether `one`, widened where need be, may hold `value`. What leaves no choice is what the place is for."""
    if isinstance(one, Choice):
        return len(one.values) > 1 or value in one.values
    return isinstance(value, int | float) and not isinstance(value, bool)


def _widened(one: Range, value: Any) -> Range:
    """`one`, with `value` in it."""
    if isinstance(one, Choice):
        return one if value in one.values else Choice((*one.values, value))
    return replace(one, low=min(one.low, value), high=max(one.high, value))


def _as_json(ranges: Ranges) -> JsonObject:
    return {name: [type(one).__name__, *one.ends, getattr(one, "log", False)] for name, one in ranges.items()}
