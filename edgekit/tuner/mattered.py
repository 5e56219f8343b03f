"""Which of the drawn values set the better recipes apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.tuner.records import SAME

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["FEWEST_RESULTS", "importances"]

FEWEST_RESULTS = 8
"""Different recipes that came to their end, from which on it is said."""


def importances(study: Study) -> JsonObject:
    """How much of what differs between complete trials each drawn value explains, for quality, cost and size; none of too few recipes, or of a
    figure that hardly any value sets apart. Recipes that were drawn several times count once."""
    import optuna

    different = [
        trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE" and SAME not in trial.user_attrs
    ]
    if len(different) < FEWEST_RESULTS:
        return {}
    alone = optuna.create_study(directions=study.directions)
    alone.add_trials(different)
    found: dict[str, JsonValue] = {}
    for at, name in enumerate(("quality", "cost", "size_mb")):
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        sign = -1 if at == 0 else 1  # it asks what sets the lowest apart
        wanted: Callable[[FrozenTrial], float] = lambda trial, at=at, sign=sign: sign * trial.values[at]  # type: ignore[misc]  # noqa: E731
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the lowest is what it looks for
            shares = optuna.importance.get_param_importances(alone, evaluator=evaluator, target=wanted, normalize=False)
        if (whole := sum(shares.values())) > 0:
            found[name] = {drawn: share / whole for drawn, share in shares.items()}
    return found
