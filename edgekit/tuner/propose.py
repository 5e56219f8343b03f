"""What is tried next, by what came of what was tried: the candidate that is expected to add most to the front, under the budget.

Of a recipe that nobody trained edgekit knows about what share of the model it leaves, and for how long it would train. Cost and size are
expected in a line with that, quality by how like the recipes are that were tried; a look at a short training says what comes of the recipe
with so few epochs. Candidates are drawn at random, and by crossing recipes of the front; none that was tried before is among them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from edgekit.compress.registry import find_method
from edgekit.config.recipe import Recipe
from edgekit.config.search import Choice, Integers, Range
from edgekit.models.facts import ModelFacts
from edgekit.tuner.front import Bounds, Values, front
from edgekit.tuner.records import FAILED, FIXED, FORESEEN, REFUSED, RUNGS, SAME, UNTRAINED, values_in
from edgekit.tuner.space import Draw, Value, shortened
from edgekit.tuner.surrogate import chance_within, expected, expected_gain
from edgekit.tuner.trial import Foreseen, recipe_key

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna.trial import FrozenTrial

__all__ = ["Drawing", "Drawn", "Limits", "Propose", "Seen", "choose", "drawn_at_random", "propose", "traits_of"]

Propose = Callable[[Sequence["FrozenTrial"], int], Mapping[str, Value] | None]
"""(trials drawn before, seed) -> the values of the next one; None where they are to be drawn at random."""
FEWEST = 5
"""Results before the first trial that is chosen by them."""
AT_RANDOM, CROSSED = 300, 300
"""Candidates."""
ANEW = 0.2
"""Of the values of a crossed one, the share that is drawn at random."""
WIDER = 0.1
"""By how much the space that volume is counted in goes beyond the worst result, as a share of their extent."""
TABLE_IN_INT4 = 0.5


@dataclass(frozen=True)
class Drawn:
    """A recipe with the values that were drawn of it, and what is known of it before it is tried."""

    recipe: Recipe
    values: Mapping[str, Value]
    ranges: Mapping[str, Range]
    traits: tuple[float, float, float]
    """`traits_of`."""


@dataclass(frozen=True)
class Drawing:
    """The space that is searched."""

    make: Callable[[Draw], Recipe]
    """Raises ValidationError where what is drawn cannot stand together."""
    facts: ModelFacts
    """Of the uncompressed model."""
    key: Callable[[Recipe], str] = recipe_key
    """The same for two recipes that do the same."""
    timed: bool = False
    """Whether cost is time, which nothing but a measurement tells."""

    def drawn(self, draw: Draw) -> Drawn:
        """The recipe that `draw` gives; raises as `make`."""
        values: dict[str, Value] = {}
        ranges: dict[str, Range] = {}

        def noted(name: str, one: Range) -> Value:
            values[name], ranges[name] = draw(name, one), one
            return values[name]

        recipe = self.make(noted)
        return Drawn(recipe, values, ranges, traits_of(recipe, self.facts))


@dataclass(frozen=True)
class Seen:
    """What came of a recipe, as far as it was tried; figures are to be low. None: not known."""

    drawn: Drawn
    lost: float | None
    """Quality, negative."""
    cost: float | None = None
    """Its logarithm."""
    size: float | None = None


@dataclass(frozen=True)
class Limits:
    """The budget in the figures of trials; None for no bound."""

    quality: float | None = None
    cost: float | None = None
    size: float | None = None

    @classmethod
    def under(cls, bounds: Bounds, quality: float, *, timed: bool) -> Limits:
        """Of a budget, where the original has so much `quality`."""
        faster = bounds.faster if timed else None
        return cls(
            None if bounds.lose is None else quality - bounds.lose, None if faster is None else 1 / faster, bounds.smaller
        )


def traits_of(recipe: Recipe, facts: ModelFacts) -> tuple[float, float, float]:
    """(logarithm of the share of the layers' work that is left, about what of the model is left in millions of numbers, logarithm of how often
    the rows are shown and one more) by what the steps declare; where sizes of the model are not known, layers and embedding count alike."""
    layers = table = 1.0
    shown = 0.0
    for step in recipe.compress:
        of_layers, of_table = find_method(step.method).leaves(step, facts)
        layers, table = layers * of_layers, table * of_table
        shown += getattr(step, "epochs", 0) * (1 + getattr(step, "augment", 0))
    hidden, deep, wide = facts.hidden_size, facts.layers, facts.intermediate_size
    all_layers, all_table = 1.0, 1.0
    if hidden and deep and wide:
        all_layers, all_table = deep * (4 * hidden**2 + 2 * hidden * wide) / 1e6, len(facts.vocabulary or ()) * hidden / 1e6
    stored = TABLE_IN_INT4 if getattr(recipe.quantize, "embeddings", None) == "int4" else 1.0
    return math.log(max(layers, 1e-3)), layers * all_layers + table * all_table * stored, math.log1p(shown)


def propose(drawing: Drawing, limits: Limits, trials: Sequence[FrozenTrial], seed: int) -> dict[str, Value] | None:
    """The values of the next trial, after `trials`; None where too little is known, or nothing new is drawn."""
    known, waiting, tried = list[Seen](), list[Drawn](), set[str]()
    results: list[tuple[Drawn, Values]] = []
    for trial in trials:
        values = {**trial.system_attrs.get(FIXED, {}), **trial.params}
        try:
            drawn = drawing.drawn(lambda name, _, values=values: values[name])  # type: ignore[misc]
        except (KeyError, ValidationError):  # it has only begun to draw, or nothing can come of it
            continue
        tried.add(drawing.key(drawn.recipe))
        if SAME in trial.user_attrs:
            continue
        if not trial.state.is_finished():
            waiting.append(drawn)
            continue
        known += _seen(trial, drawn, drawing)
        if trial.state.name == "COMPLETE":
            results.append((drawn, values_in(trial)))
    if len(results) < FEWEST:
        return None
    chance = random.Random(seed)
    figures = [values for _, values in results]
    candidates = _candidates(drawing, tried, [results[number][0] for number in front(figures)], chance)
    order = choose(known, figures, waiting, candidates, limits)
    return dict(candidates[order[0]].values) if order else None


def drawn_at_random(chance: random.Random) -> Draw:
    """Values as Optuna draws them at random."""

    def draw(name: str, one: Range) -> Value:
        if isinstance(one, Choice):
            return chance.choice(one.values)
        low, high = one.ends
        edge = 0.5 if isinstance(one, Integers) else 0.0
        there, back = (math.log, math.exp) if one.log else (float, float)
        value = back(chance.uniform(there(low - edge), there(high + edge)))
        return min(max(round(value), one.low), one.high) if isinstance(one, Integers) else min(max(value, low), high)

    return draw


def _candidates(drawing: Drawing, tried: set[str], parents: Sequence[Drawn], chance: random.Random) -> list[Drawn]:
    """Recipes that were not `tried`, each once."""
    at_random = drawn_at_random(chance)
    found: dict[str, Drawn] = {}
    for number in range(AT_RANDOM + CROSSED):
        draw = at_random if number < AT_RANDOM else _crossed(chance.choice(parents), chance.choice(parents), at_random, chance)
        with suppress(ValidationError):
            drawn = drawing.drawn(draw)
            if (key := drawing.key(drawn.recipe)) not in tried:
                found.setdefault(key, drawn)
    return list(found.values())


def _crossed(one: Drawn, other: Drawn, at_random: Draw, chance: random.Random) -> Draw:
    """Each value from either of two recipes, or at random."""

    def draw(name: str, within: Range) -> Value:
        first, second = (one.values, other.values) if chance.random() < 0.5 else (other.values, one.values)
        if chance.random() < ANEW or (name not in first and name not in second):
            return at_random(name, within)
        return first[name] if name in first else second[name]

    return draw


def _seen(trial: FrozenTrial, drawn: Drawn, drawing: Drawing) -> Iterator[Seen]:
    """What a trial that came to its end says: of its own recipe, and of that with as few epochs as each look at it had."""
    said, timed = trial.user_attrs, drawing.timed
    if FAILED in said or REFUSED in said:
        yield Seen(drawn, math.inf)
    if UNTRAINED in said:
        foreseen = Foreseen.read(said[FORESEEN])
        times = None if foreseen.times is None else foreseen.times["times"]
        cost = foreseen.multiplications if not timed else None if times is None else 1 / times
        yield Seen(drawn, None, None if cost is None else math.log(cost), foreseen.size_mb)
    for rung in said.get(RUNGS, ()):
        if rung["share"] < 1:
            values = {
                name: max(1, round(rung["share"] * value)) if name.endswith(".epochs") and isinstance(value, int) else value
                for name, value in drawn.values.items()
            }
            short = shortened(drawn.recipe, rung["share"])
            cost = None if timed else math.log(rung["multiplications"])
            yield Seen(
                Drawn(short, values, drawn.ranges, traits_of(short, drawing.facts)), -rung["quality"], cost, rung["size_mb"]
            )
    if trial.state.name == "COMPLETE":
        quality, cost, size = values_in(trial)
        yield Seen(drawn, -quality, math.log(cost), size)


def choose(
    known: Sequence[Seen], results: Sequence[Values], waiting: Sequence[Drawn], candidates: Sequence[Drawn], limits: Limits
) -> list[int]:
    """Numbers of the candidates, from the one on that is expected to add most to what `results` dominate within `limits`; where none of
    these is within, from the one that most likely is. What is expected of trials that others are at counts as if it were there."""
    if not candidates:
        return []
    figures = np.array([(-quality, math.log(cost), size) for quality, cost, size in results])
    best = figures[front(results)]
    low, extent = figures.min(axis=0), np.ptp(figures, axis=0)
    extent[extent == 0] = 1.0
    asked = [-limits.quality if limits.quality is not None else math.inf, math.inf if limits.cost is None else math.log(limits.cost),
             math.inf if limits.size is None else limits.size]  # fmt: skip
    worst = np.minimum((np.array(asked) - low) / extent, 1 + WIDER)
    others = [*waiting, *candidates]
    means, deviations = [], []
    for at, of in enumerate(("lost", "cost", "size")):
        told = [one for one in known if getattr(one, of) is not None]
        all_of_them = [*(one.drawn for one in told), *others]
        wanted = np.array([getattr(one, of) for one in told])
        scaled = (np.minimum(wanted, low[at] + extent[at]) - low[at]) / extent[at]
        traits = np.array([one.traits for one in all_of_them])
        mean, deviation = expected(_apart(all_of_them, len(told)), scaled, traits[:, :2] if at else None)
        means.append(mean)
        deviations.append(deviation)
    mean, deviation = np.stack(means, axis=1), np.stack(deviations, axis=1)
    there = np.concatenate([(best - low) / extent, mean[: len(waiting)]])
    mean, deviation = mean[len(waiting) :], deviation[len(waiting) :]
    within = ((figures - low) / extent <= worst).all(axis=1)
    gain = expected_gain(there, worst, mean, deviation) if within.any() else chance_within(worst, mean, deviation)
    beyond = np.maximum(mean - worst, 0).sum(axis=1)
    return [int(number) for number in np.lexsort((beyond, -gain))]


def _apart(recipes: Sequence[Drawn], count: int) -> NDArray[np.float64]:
    """(recipes, the first `count` of them): how much two differ. A choice, and a number that one alone has, counts 1; numbers half the square of
    their difference as a share of the range; traits an eighth of that in deviations of the first."""
    ranges = {name: one for drawn in recipes for name, one in drawn.ranges.items()}
    traits = np.array([drawn.traits for drawn in recipes])
    spread = traits[:count].std(axis=0)
    columns = traits / np.where(spread > 0, spread, 1.0)
    apart: NDArray[np.float64] = ((columns[:, None] - columns[None, :count]) ** 2).sum(axis=2) / 8
    for name, one in ranges.items():
        place = np.array([_place(drawn.values[name], one) if name in drawn.values else -1e9 for drawn in recipes])
        away = (place[:, None] - place[None, :count]) ** 2
        apart += np.minimum(away, 1.0) if isinstance(one, Choice) else np.where(away > 1e9, 1.0, away / 2)
    return apart


def _place(value: Value, one: Range) -> float:
    """Of a choice its number, else where from the least (0) to the most (1) of a range it lies."""
    if isinstance(one, Choice):
        return float(one.values.index(value))
    assert isinstance(value, int | float)
    if one.low == one.high:
        return 0.0
    if one.log:
        return math.log(value / one.low) / math.log(one.high / one.low)
    return (value - one.low) / (one.high - one.low)
