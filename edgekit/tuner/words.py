"""How a search speaks of recipes, budgets and faults, in a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from edgekit.config.recipe import Recipe
from edgekit.errors import EdgekitError
from edgekit.tuner.front import Bounds

__all__ = [
    "budget",
    "count",
    "earlier_points",
    "epochs_of",
    "fault",
    "interrupted",
    "left_to_others",
    "of_what_is_there",
    "outline",
    "sentence",
]


def outline(recipe: Recipe) -> str:
    """A recipe's steps and number format in a line."""
    steps = []
    for step in recipe.compress:
        said = step.model_dump(mode="json", exclude_unset=True, exclude={"method"})
        steps.append(
            f"{step.method} ({', '.join(f'{name} {_short(value)}' for name, value in said.items())})" if said else step.method
        )
    form = (
        []
        if recipe.quantize is None
        else [f"{name} {_short(getattr(recipe.quantize, name))}" for name in recipe.quantize.search]
    )
    return "; ".join([*(steps or ["no step"]), *([", ".join(form)] if form else [])])


def _short(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def epochs_of(recipe: Recipe) -> int:
    """How many epochs its steps train for, all together."""
    return sum(getattr(step, "epochs", 0) for step in recipe.compress)


def budget(bounds: Bounds) -> list[str]:
    """What is asked for, each bound in words."""
    asked = [] if bounds.lose is None else [f"lose at most {100 * bounds.lose:.2f} points"]
    asked += [] if bounds.faster is None else [f"be {bounds.faster:g} times as fast as fp32"]
    return asked + ([] if bounds.smaller is None else [f"take at most {bounds.smaller:g} MB"])


def count(number: int, noun: str) -> str:
    """So many of them: 1 trial, 2 trials."""
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"


def earlier_points(recipes: Sequence[str]) -> str:
    """What is said of points that are none of this search, and stay."""
    which = "a point of another budget or study is" if len(recipes) == 1 else "points of other budgets or studies are"
    return f"{which} here still, with {'its bundle' if len(recipes) == 1 else 'their bundles'}: {', '.join(recipes)}"


def interrupted(kept: int, counted: int, at: str) -> str:
    """What is said of a search that is interrupted. `kept`: trials that came to their end; `counted`: those of them that --trials counts."""
    if not kept:
        return f"interrupted before any trial came to its end: what was made stays in the store, and the same command goes on, with the study in {at}"
    which = "1 trial came to its end and stays" if kept == 1 else f"{kept:,} trials came to their end and stay"
    made = f"; {of_what_is_there(counted)}" if counted else ""
    return (
        f"interrupted: {which} in the study, in {at}, with the page as far as it is; what was cut off is tried again first, and the same command "
        f"goes on. Points are made at a search's end, by the worker that ends last{made}"
    )


def left_to_others(study: Mapping[str, Any]) -> str:
    """What is said where this worker ended before others: nothing was judged, and how it comes to points whatever they do."""
    return (
        "other workers are still at this study, and the one that ends last makes its points: nothing was judged here. Where none of them comes to "
        f"its end, the same command with {of_what_is_there(sum(trial['state'] != 'refused' and 'same_as' not in trial for trial in study['trials']))}"
    )


def sentence(text: str) -> str:
    """`text` with a capital at its beginning and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def of_what_is_there(trials: int) -> str:
    """The option that has the points made without any further trial, of so many that count for one."""
    return f"--trials {max(1, trials)} instead of --minutes makes the points of what is there"


def fault(raised: Exception) -> str:
    """What was raised, in a line."""
    if isinstance(raised, ValidationError):
        return "; ".join(one["msg"] for one in raised.errors())
    if isinstance(raised, EdgekitError):
        return "; ".join([raised.what, *raised.faults])
    return f"{type(raised).__name__}: {' '.join(str(raised).split())[:300]}"
