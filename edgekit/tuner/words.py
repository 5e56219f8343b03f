"""How a search speaks of recipes, budgets and faults, in a line each."""

from __future__ import annotations

from pydantic import ValidationError

from edgekit.config.recipe import Recipe
from edgekit.errors import EdgekitError
from edgekit.tuner.front import Bounds

__all__ = ["budget", "count", "epochs_of", "fault", "outline"]


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
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def epochs_of(recipe: Recipe) -> int:
    """How many epochs its steps train for, all together."""
    return sum(getattr(step, "epochs", 0) for step in recipe.compress)


def budget(bounds: Bounds) -> list[str]:
    """What is asked for, each bound in words."""
    asked = [] if bounds.lose is None else [f"lose at most {bounds.lose:.2%}"]
    asked += [] if bounds.faster is None else [f"be {bounds.faster:g} times as fast as fp32"]
    return asked + ([] if bounds.smaller is None else [f"take at most {bounds.smaller:g} MB"])


def count(number: int, noun: str) -> str:
    """So many of them: 1 trial, 2 trials."""
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"


def fault(raised: Exception) -> str:
    """What was raised, in a line."""
    if isinstance(raised, ValidationError):
        return "; ".join(one["msg"] for one in raised.errors())
    if isinstance(raised, EdgekitError):
        return "; ".join([raised.what, *raised.faults])
    return f"{type(raised).__name__}: {' '.join(str(raised).split())[:300]}"
