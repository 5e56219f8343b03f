"""A study under a budget, and in so much time. How far a trial is from keeping the budget is told anew at each look and never stored, so that a
study may be gone on with under another one: its trials are judged by that one from then on. So is what time alone closed, which is open to
whoever has more of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, cast

from edgekit.tuner.front import Bounds
from edgekit.tuner.records import FORESEEN, NEEDS, SAME, STOPPED, UNTRAINED, values_in
from edgekit.tuner.trial import Foreseen, Original

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, TrialState

__all__ = ["over_budget", "put_under"]

BUDGETS = "budgets"
"""The budgets that a study was searched under, in their order, each as [lose, faster, smaller]."""


def put_under(
    study: Study, bounds: Bounds, original: Original, *, timed: bool, fits: Callable[[float], bool] = lambda seconds: False
) -> list[Bounds]:
    """Have all that look at `study` through this object, samplers among them, see its trials under `bounds`; returns the budgets that it was
    searched under before. `fits`: whether so many seconds are left, for trials that time closed."""

    def seen(trial: FrozenTrial) -> FrozenTrial:
        if trial.state.name == "COMPLETE":
            return _with(trial, over_budget(trial, bounds, original, timed=timed))
        if NEEDS in trial.user_attrs and fits(trial.user_attrs[NEEDS]):
            return _open(trial)
        if UNTRAINED not in trial.user_attrs:
            return trial
        over = {name: share for name, share in Foreseen.read(trial.user_attrs[FORESEEN]).over(bounds).items() if share > 0}
        return _with(trial, over) if over else _open(trial)

    study._storage = cast("BaseStorage", _Seen(study._storage, seen))
    before = [Bounds(*one) for one in study.user_attrs.get(BUDGETS, ())]
    if bounds not in before[-1:]:
        study.set_user_attr(BUDGETS, [[one.lose, one.faster, one.smaller] for one in (*before, bounds)])
    return before


def over_budget(trial: FrozenTrial, bounds: Bounds, original: Original, *, timed: bool) -> dict[str, float]:
    """How far a trial that was measured is from keeping each bound on validation rows; 0 or less where it is kept."""
    quality, cost, size = values_in(trial)
    return bounds.over(original.quality - quality, 1 / cost if timed else None, size)


class _Seen:
    """A storage of Optuna whose trials are what `seen` makes of them; all else is the storage's own."""

    def __init__(self, storage: BaseStorage, seen: Callable[[FrozenTrial], FrozenTrial]) -> None:
        self._storage, self._seen = storage, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = map(self._seen, self._storage.get_all_trials(study_id, deepcopy=deepcopy))
        return [trial for trial in trials if states is None or trial.state in states]


def _with(trial: FrozenTrial, over: dict[str, float]) -> FrozenTrial:
    """`trial` with how far it is from keeping each bound, as Optuna calls it a constraint."""
    seen = copy.copy(trial)
    seen.system_attrs = dict(trial.system_attrs)
    for name, share in over.items():
        seen.set_constraint(name, share)
    return seen


def _open(trial: FrozenTrial) -> FrozenTrial:
    """`trial`, which another budget left untrained or less time closed, as one that was given back: to be tried again."""
    from optuna.trial import TrialState

    seen = copy.copy(trial)
    seen.state = TrialState.FAIL
    seen.user_attrs = {name: said for name, said in trial.user_attrs.items() if name not in (UNTRAINED, STOPPED, NEEDS, SAME)}
    return seen
