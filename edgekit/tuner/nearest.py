"""Why nothing keeps a budget, and what comes nearest to it, in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.progress import spent
from edgekit.tuner.duration import minutes_for
from edgekit.tuner.records import FAILED, FORESEEN, MEASURED, NEEDS, RUNGS, SAME, UNTRAINED, ordinals, values_in
from edgekit.tuner.run import Searched
from edgekit.tuner.words import count, outline

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["closest", "nearest"]

MOST_WAITING = 3
"""Trials for which there was no time that are named."""


def closest(searched: Searched) -> FrozenTrial:
    """The trial of the front that is nearest to the budget: what dominates a trial is no farther from it, so that none beside the front is nearer."""
    return min(searched.front, key=lambda trial: _short_by(searched.over(trial)))


def _short_by(over: Mapping[str, float]) -> float:
    return sum(max(0.0, share) for share in over.values())


def nearest(searched: Searched) -> list[str]:
    """Why nothing keeps the budget, in words; nothing where something does."""
    recipes = [trial for trial in searched.trials if SAME not in trial.user_attrs]
    trained = [(trial, searched.over(trial)) for trial in recipes if trial.state.name == "COMPLETE"]
    untrained = [(trial, _foreseen_over(searched, trial)) for trial in recipes if UNTRAINED in trial.user_attrs]
    waiting = _waiting(searched, [trial for trial in recipes if NEEDS in trial.user_attrs])
    if not trained and not untrained:
        if waiting:
            return ["no trial came to its end: what binds is time", *waiting[:MOST_WAITING]]
        failed = [trial.user_attrs[FAILED] for trial in recipes if FAILED in trial.user_attrs]
        said = f": {len(failed)} failed, the last with {failed[-1]}" if failed else "; give more time"
        return [f"no trial came to its end{said}"]
    if any(all(share <= 0 for share in over.values()) for _, over in trained):
        return []
    if trained:
        trial = closest(searched)
        over = searched.over(trial)
    else:
        trial, over = min(untrained, key=lambda one: _short_by(one[1]))
    binding = Counter(name for _, one in (*trained, *untrained) for name, share in one.items() if share > 0)
    words = {"lose": "quality", "faster": "speed", "smaller": "size"}
    tried = count(len(trained) + len(untrained), "recipe")
    each = ", ".join(f"{words[name]} in {times} of {tried}" for name, times in binding.most_common())
    left_out = "; 1 was not trained, as no teaching changes its size and speed" if len(untrained) == 1 else ""
    if len(untrained) > 1:
        left_out = f"; {len(untrained)} were not trained, as no teaching changes their size and speed"
    which = "the nearest" if trained else "the nearest, whose quality nobody knows,"
    time = f", and time: {len(waiting)} {'waits' if len(waiting) == 1 else 'wait'} for more of it" if waiting else ""
    return [
        f"nothing keeps the budget: what binds is {each}{left_out}{time}",
        *waiting[:MOST_WAITING],
        f"{which} is trial {ordinals(searched.study)[trial.number]}: {_asks(searched, trial, over)}; {outline(searched.recipe(trial))}",
    ]


def _waiting(searched: Searched, trials: Sequence[FrozenTrial]) -> list[str]:
    """What of `trials`, which time alone closed, may keep the budget as far as anything is known of it, and how much time each needs; those that
    need least first."""
    may = [trial for trial in trials if all(share <= 0 for share in _foreseen_over(searched, trial).values())]
    said = []
    for trial in sorted(may, key=lambda one: one.user_attrs[NEEDS]):
        needs, known = trial.user_attrs[NEEDS], _known(trial)
        figures = [] if "size_mb" not in known else [f"{known['size_mb']:.2f} MB"]
        figures += [f"{known[MEASURED]['times']:.2f}x fp32"] if MEASURED in known else []
        known_of = f" ({', '.join(figures)})" if figures else ""
        said.append(
            f"trial {ordinals(searched.study)[trial.number]}{known_of} may keep it and needs about "
            f"{spent(needs)}: --minutes {minutes_for(searched.spent, needs)}; {outline(searched.recipe(trial))}"
        )
    return said


def _known(trial: FrozenTrial) -> Mapping[str, Any]:
    """Size and speed of a trial that did not come to its end, as far as they are known."""
    looks = trial.user_attrs.get(RUNGS) or [{}]
    size = {"size_mb": looks[-1]["size_mb"]} if looks[-1] else {}
    return {**size, **trial.user_attrs.get(FORESEEN, {})}


def _foreseen_over(searched: Searched, trial: FrozenTrial) -> dict[str, float]:
    """How far size and speed of a recipe that was not trained to its end are from the budget, as far as they are known."""
    said = _known(trial)
    over = searched.bounds.over(0.0, said[MEASURED]["times"] if MEASURED in said else None, said.get("size_mb", 0.0))
    return {name: share for name, share in over.items() if name != "lose"}


def _asks(searched: Searched, trial: FrozenTrial, over: Mapping[str, float]) -> str:
    """The options that it would keep, rounded so that it does keep them."""
    if UNTRAINED in trial.user_attrs:
        said = trial.user_attrs[FORESEEN]
        quality, times, size = None, said[MEASURED]["times"] if MEASURED in said else None, said["size_mb"]
    else:
        quality, cost, size = values_in(trial)
        times = 1 / cost
    kept = {"smaller": f"--smaller {math.ceil(100 * size) / 100:.2f}MB"}
    if quality is not None:
        kept["lose"] = f"--lose {math.ceil(10_000 * max(0.0, searched.original.quality - quality)) / 100:.2f}%"
    if times is not None:
        kept["faster"] = f"--faster {math.floor(100 * times) / 100:.2f}x"
    return " ".join(kept[name] for name in over)
