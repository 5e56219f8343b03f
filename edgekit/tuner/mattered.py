"""Which of the drawn values set the recipes apart."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.tuner.records import SAME, values_in

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["FEWEST_RESULTS", "importances"]

FEWEST_RESULTS = 8
"""Different recipes that came to their end, from which on it is said."""
LEVELS = 3
"""That numbers are told apart in."""


def importances(study: Study) -> JsonObject:
    """What share of the differences between complete trials each drawn value explains by itself, for quality, the logarithm of cost, and size
    (`explained`); none of too few recipes, and no figure that no value explains. Recipes that were drawn several times count once."""
    different = [
        trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE" and SAME not in trial.user_attrs
    ]
    if len(different) < FEWEST_RESULTS:
        return {}
    figures = [(quality, math.log(max(cost, 1e-12)), size) for quality, cost, size in map(values_in, different)]
    levels = {name: _levels(different, name) for name in dict.fromkeys(name for trial in different for name in trial.params)}
    found: dict[str, JsonValue] = {}
    for at, figure in enumerate(("quality", "cost", "size_mb")):
        results = np.array([one[at] for one in figures])
        shares = {name: explained(groups, results) for name, groups in levels.items()}
        if any(shares.values()):
            found[figure] = dict(shares)
    return found


def explained(groups: Sequence[Hashable], results: NDArray[np.float64]) -> float:
    """Epsilon squared of a one-way analysis of variance, 0 to 1: the share of the variance of `results` (recipes,) that lies between the
    `groups` of them, less what chance puts there (Kelley 1935, PNAS 21). 0 where each is a group of its own, as nothing is known then."""
    whole = float(((results - results.mean()) ** 2).sum())
    of = {group: results[[one == group for one in groups]] for group in dict.fromkeys(groups)}
    if whole <= 1e-12 * max(1.0, float((results**2).sum())) or not 1 < len(of) < len(results):
        return 0.0
    inside = sum(float(((part - part.mean()) ** 2).sum()) for part in of.values())
    by_chance = (len(of) - 1) * inside / (len(results) - len(of))
    return max(0.0, (whole - inside - by_chance) / whole)


def _levels(trials: Sequence[FrozenTrial], name: str) -> list[Hashable]:
    """The value of each trial: of a number in which third of those that were drawn it lies; "" where it was not drawn."""
    drawn = [trial.params[name] for trial in trials if name in trial.params]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in drawn) and len(set(drawn)) > LEVELS:
        edges = np.quantile(drawn, [part / LEVELS for part in range(1, LEVELS)])
        return [int(np.searchsorted(edges, trial.params[name])) if name in trial.params else "" for trial in trials]
    return [repr(trial.params[name]) if name in trial.params else "" for trial in trials]
