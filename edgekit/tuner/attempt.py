"""One trial, from its draw to what is written of it in the study: refused, the same as another one, left untrained, dropped, or measured."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edgekit.config.recipe import Recipe
from edgekit.errors import BadInput, NotPossibleHere
from edgekit.progress import spent
from edgekit.store import is_there
from edgekit.tuner.duration import Paces, epochs_kept, paces, seconds_needed
from edgekit.tuner.front import Bounds, Values
from edgekit.tuner.records import (
    AGAIN,
    FAILED,
    FORESEEN,
    KEY,
    MEASURED,
    NEEDS,
    REFUSED,
    RUNGS,
    SAME,
    SECONDS,
    STOPPED,
    UNTRAINED,
    attempts,
    finished,
    ordinals,
    values_in,
)
from edgekit.tuner.space import Space, drawn_recipe, untrained
from edgekit.tuner.storage import answering
from edgekit.tuner.study import Claimed, deaths, give_back, keep_result, suggest
from edgekit.tuner.trial import (
    Foreseen,
    Given,
    Original,
    epochs_of_stages,
    foresee,
    is_trained,
    keeps_up,
    measure,
    of_this_recipe,
    recipe_key,
    run_rung,
    rungs_of,
)
from edgekit.tuner.until import Until
from edgekit.tuner.words import epochs_of, fault, outline

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["End", "Ongoing", "attempt"]


MOST_DEATHS = 2
"""Processes that a trial may end before it counts as one that failed."""


@dataclass(frozen=True)
class Ongoing:
    """What the trials of a search have in common."""

    study: Study
    given: Given
    original: Original
    space: Space
    bounds: Bounds
    until: Until


@dataclass(frozen=True)
class End:
    """What a trial came to."""

    said: Mapping[str, Any]
    """Attributes of the trial."""
    values: Values | None = None
    """Of one that was measured."""

    @property
    def state(self) -> str:
        """Optuna's name of it."""
        return "COMPLETE" if self.values is not None else "FAIL" if FAILED in self.said else "PRUNED"

    @property
    def again(self) -> bool:
        """Whether it is a recipe that was tried before."""
        return SAME in self.said

    @property
    def unbegun(self) -> bool:
        """Whether there was no time to begin it."""
        return NEEDS in self.said and RUNGS not in self.said

    @property
    def in_vain(self) -> str:
        """Why it cannot work or failed; "" for any other end."""
        return next((f"{name}: {self.said[name]}" for name in (REFUSED, FAILED) if name in self.said), "")


def attempt(search: Ongoing, claimed: Claimed, *, proven: bool) -> End:
    """Run one trial to its end, and say it to the study. One that is interrupted is given back.

    `proven`: it is among those that a search begins with, which are trained in full.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    began, end = time.monotonic(), None
    try:
        end = _end_of(search, claimed, began, proven=proven)
        said = {**end.said, SECONDS: time.monotonic() - began}
        for name, value in said.items():
            claimed.trial.set_user_attr(name, value)
        search.study.tell(claimed.trial, end.values, state=TrialState[end.state], skip_if_finished=True)
    except UpdateFinishedTrialError:  # as after a machine slept, or a storage was out of reach
        given_up = "  no sign of this worker was seen for a while, and the trial was given to whoever asks next"
        if end is None:
            search.given.show.line(f"{given_up}: given up")
            return End({})
        with answering(""):
            kept = keep_result(search.study, claimed.trial.number, said, end.values, end.state)
        search.given.show.line(
            f"{given_up}: {'its result counts, as the first one' if kept else 'another result was there before this one'}"
        )
    except BaseException:
        with (
            suppress(NotPossibleHere, UpdateFinishedTrialError),
            answering(""),
        ):  # a storage that is gone: the trial is given back when this worker is here again
            claimed.trial.set_user_attr(SECONDS, time.monotonic() - began)
            give_back(search.study, claimed.trial.number)
        raise
    _tell(search, end)
    return end


def _end_of(search: Ongoing, claimed: Claimed, began: float, *, proven: bool) -> End:
    """What the trial comes to; where it is told on the way is said to the study and shown at once."""
    given, trial = search.given, claimed.trial
    title = f"trial {claimed.index + 1}"
    died = deaths(search.study, trial.user_attrs.get(AGAIN, trial.number))
    if len(died) >= MOST_DEATHS:
        given.show.line(title)
        return End({FAILED: f"the process {died[-1]} each time that it ran, {len(died)} times"})
    if died:
        given.show.line(f"{title} once more, as the process {died[-1]} while it ran")
    try:
        recipe = drawn_recipe(search.space, given.recipe, suggest(trial))
        given.plan(recipe)
    except (ValidationError, BadInput) as raised:
        given.show.line(f"{title}: refused before anything ran")
        return End({REFUSED: fault(raised)})
    key = hashlib.sha256(recipe_key(recipe).encode()).hexdigest()[:16]
    trial.set_user_attr(KEY, key)
    others = [one for one in finished(search.study) if one.number != trial.number]
    twin = next((one for one in others if one.user_attrs.get(KEY) == key and one.state.name in ("COMPLETE", "PRUNED")), None)
    if twin is not None:
        given.show.line(f"{title}: the same recipe as trial {ordinals(search.study)[twin.number]}, which counts for both")
        copied = {
            name: twin.user_attrs[name]
            for name in (FORESEEN, RUNGS, MEASURED, UNTRAINED, STOPPED, NEEDS)
            if name in twin.user_attrs
        }
        values = values_in(twin) if twin.state.name == "COMPLETE" else None
        return End({**copied, SAME: twin.number}, values)
    given.show.line(f"{title}: {outline(recipe)}")
    return _left_untrained(search, claimed, recipe, others) or _trained(search, claimed, recipe, others, began, proven=proven)


def _left_untrained(search: Ongoing, claimed: Claimed, recipe: Recipe, others: list[FrozenTrial]) -> End | None:
    """The end of a trial whose shapes alone miss the budget; None where they do not, or nothing can be told by them."""
    given = search.given
    foreseen = _foreseen_before(search, claimed)
    if foreseen is None:
        shaped, left = untrained(recipe), search.until.seconds_left()
        if shaped is not None and left is not None and (closed := _put_off(search, [shaped], paces(others), left, [])):
            return closed
        foreseen = foresee(given, search.original, recipe, search.bounds)
    if foreseen is None:
        return None
    claimed.trial.set_user_attr(FORESEEN, foreseen.document())
    broken = [name for name, share in foreseen.over(search.bounds).items() if share > 0]
    if not broken:
        return None
    why = " and ".join({"smaller": "too large", "faster": "too slow"}[name] for name in broken)
    speed = "" if foreseen.times is None else f", {foreseen.times['times']:.2f}x fp32"
    given.show.line(f"  not trained: {foreseen.size_mb:.2f} MB{speed}, {why} whatever it is taught")
    return End({UNTRAINED: f"its shapes are {why}, whatever it is taught"})


def _trained(
    search: Ongoing, claimed: Claimed, recipe: Recipe, others: list[FrozenTrial], began: float, *, proven: bool
) -> End:
    """The end of a trial that is trained for longer and longer, as long as it keeps up with `others`."""
    given, original, until, trial = search.given, search.original, search.until, claimed.trial
    rungs: list[dict[str, Any]] = []
    lengths = rungs_of(recipe)
    if proven:  # nobody has to find out whether it is worth its training, but for whether there is time for it
        in_full = until.seconds_left() is None or is_trained(given, recipe) or _gone_on_with(search, recipe)
        lengths = lengths[-1:] if in_full else [*lengths[:-1][:1], lengths[-1]]
    for place, (share, short) in enumerate(lengths):
        left, so_far = until.seconds_left(), _epochs(short, recipe)
        if left is not None and (
            closed := _put_off(search, [one for _, one in lengths[place:]], paces(others, rungs), left, rungs)
        ):
            return closed
        if share < 1:
            given.show.line(f"  {'a first look' if not rungs else 'a longer look'}: {so_far}")
        elif rungs:
            given.show.line(f"  in full: {epochs_of(recipe)} epochs")
        try:
            rung, model, checkpoint = run_rung(given, original, share, short)
            found = measure(given, original, model, checkpoint) if share == 1 and given.timed else None
        except Exception as raised:
            if not of_this_recipe(raised):
                raise
            return End({FAILED: fault(raised)})
        rungs.append(dict(rung.document()))
        if share == 1:
            continue  # said with its end
        trial.set_user_attr(RUNGS, rungs)
        trial.set_user_attr(SECONDS, time.monotonic() - began)
        if proven:
            continue
        if not keeps_up(rung, [one for other in others for one in other.user_attrs.get(RUNGS, ())]):
            given.show.line(
                f"  dropped after {so_far}, at {rung.quality:.2%}: others do better after as much of their training"
            )
            return End({STOPPED: f"others do better after {share:.0%} of its training"})
    cost = rung.multiplications if found is None else 1 / found["times"]
    return End({RUNGS: rungs} | ({} if found is None else {MEASURED: found}), (rung.quality, cost, rung.size_mb))


def _put_off(
    search: Ongoing, ahead: Sequence[Recipe], known: Paces, left: float, rungs: Sequence[Mapping[str, Any]]
) -> End | None:
    """The end of a trial whose recipes `ahead` are foreseen to take more than the `left` seconds; None where they may fit. It is opened again
    where there is more time (`edgekit.tuner.under`). `rungs`: the looks at it so far."""
    each = [seconds_needed(search.given, one, known) for one in ahead]
    if None in each:
        return None
    needed = sum(one for one in each if one is not None) + known.rest
    if needed <= left:
        return None
    what = "to train it for longer" if rungs else "to begin it"
    why = f"no time was left {what}: {spent(max(0.0, left))} of about {spent(needed)}"
    search.given.show.line(f"  put off: {why}")
    return End({STOPPED: why, NEEDS: needed})


def _gone_on_with(search: Ongoing, recipe: Recipe) -> bool:
    """Whether some of its training in full is made: it is worth more than a shorter training, which shares nothing with it."""
    given = search.given
    plan, _ = given.plan(recipe)
    epochs = epochs_of_stages(plan)
    for stage in plan.compressed:
        if stage.key in epochs and is_there(given.build, stage):
            return True
        if stage.key in epochs and (kept := epochs_kept(given, stage)):
            given.show.line(f"  goes on: {kept[0]} of {epochs[stage.key]} epochs of {stage.name} were trained before")
            return True
    return False


def _foreseen_before(search: Ongoing, claimed: Claimed) -> Foreseen | None:
    """What an earlier try at the trial found out of its shapes; None where there is none, or its speed is asked for now and was not then."""
    root = claimed.trial.user_attrs.get(AGAIN, claimed.trial.number)
    tries = attempts(search.study.get_trials(deepcopy=False)).get(root, [])
    found = [Foreseen.read(one.user_attrs[FORESEEN]) for one in tries if FORESEEN in one.user_attrs]
    timed = search.given.timed and search.bounds.faster is not None
    return next((one for one in reversed(found) if one.times is not None or not timed), None)


def _epochs(short: Recipe, whole: Recipe) -> str:
    """How much of its training one of its looks is: the steps are trained for their share each, and for an epoch at least."""
    return f"{epochs_of(short)} of {epochs_of(whole)} epochs"


def _tell(search: Ongoing, end: End) -> None:
    show = search.given.show
    if end.in_vain:
        show.line(f"  {end.in_vain}")
    elif end.values is not None and not end.again:
        show.line(f"  {_figures(search, end.values)}{_best(search)}{_left(search.until)}")


def _figures(search: Ongoing, values: Values) -> str:
    quality, cost, size = values
    speed = f"{1 / cost:.2f}x fp32" if search.given.timed else f"{cost:.0%} of the multiplications"
    return f"{quality:.2%} ({100 * (search.original.quality - quality):+.2f} points lost), {speed}, {size:.2f} MB"


def _best(search: Ongoing) -> str:
    """The fastest so far that keeps the budget."""
    kept = [
        values_in(trial)
        for trial in finished(search.study)
        if trial.state.name == "COMPLETE" and all(over <= 0 for over in trial.constraints.values())
    ]
    if not kept:
        return "; none keeps the budget so far"
    which = "fastest so far" if search.bounds == Bounds() else "fastest in budget"
    return f"; {which}: {_figures(search, min(kept, key=lambda one: one[1]))}"


def _left(until: Until) -> str:
    left = until.seconds_left()
    parts = [f"{until.done()} of {until.trials} trials"] if until.trials is not None else []
    parts += [f"{spent(max(0.0, left))} left"] if left is not None else []
    return f"; {', '.join(parts)}"
