"""What a trial says of itself in the study, and which of the tries at it counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.tuner.front import Values

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = [
    "AGAIN", "FAILED", "FIXED", "FORESEEN", "KEY", "MEASURED", "NEEDS", "REFUSED", "RUNGS", "SAME", "SECONDS", "STOPPED", "TAKEN",
    "UNTRAINED", "WORKER",
    "attempts", "finished", "given_back", "ordinals", "seconds_of", "settled", "values_in",
]  # fmt: skip

WORKER, AGAIN, TAKEN = "worker", "again", "taken"
"""Whose it is; the number of the trial that it is another try at; that another worker had it already."""
KEY, FORESEEN, RUNGS, MEASURED, SECONDS, SAME = "key", "foreseen", "rungs", "measured", "seconds", "same_as"
"""What came of it so far."""
FIXED = "fixed_params"
"""Where Optuna keeps values of a trial that are not to be drawn."""
REFUSED, UNTRAINED, STOPPED, FAILED = "refused", "untrained", "stopped", "failed"
"""Why it did not come to its end, in words."""
NEEDS = "needs_seconds"
"""Of one that time alone closed: how long what is left of it is foreseen to take. It is opened again where there is as much time."""


def attempts(trials: Sequence[FrozenTrial]) -> dict[int, list[FrozenTrial]]:
    """Number of each trial that was drawn -> all tries at it in order, of which the last one counts."""
    found: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        if TAKEN not in trial.user_attrs:
            found.setdefault(trial.user_attrs.get(AGAIN, trial.number), []).append(trial)
    return found


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that came to an end, each once, in the order of drawing."""
    last = [tries[-1] for _, tries in sorted(attempts(study.get_trials(deepcopy=False)).items())]
    return [trial for trial in last if trial.state.is_finished() and not given_back(trial)]


def ordinals(study: Study) -> dict[int, int]:
    """Number of each try -> which trial it is at, from 1 on in the order of drawing: what people are shown of it."""
    tries = sorted(attempts(study.get_trials(deepcopy=False)).items())
    return {trial.number: place for place, (_, several) in enumerate(tries, 1) for trial in several}


def settled(trial: FrozenTrial) -> bool:
    """Whether nothing else is to come of a try: it ended, was not given back, and it was not time that closed it."""
    return trial.state.is_finished() and not given_back(trial) and NEEDS not in trial.user_attrs


def seconds_of(study: Study) -> dict[int, float]:
    """Number of the last try at each trial -> what all tries at it took."""
    every = attempts(study.get_trials(deepcopy=False)).values()
    return {tries[-1].number: sum(one.user_attrs.get(SECONDS, 0.0) for one in tries) for tries in every}


def given_back(trial: FrozenTrial) -> bool:
    """Whether it ended because its worker was gone: one that failed by itself says why before it ends."""
    return trial.state.name == "FAIL" and FAILED not in trial.user_attrs and TAKEN not in trial.user_attrs


def values_in(trial: FrozenTrial) -> Values:
    """(quality, cost, size) of a complete trial."""
    quality, cost, size = trial.values
    return quality, cost, size
