"""The search itself: trials until the time or their number is used up, then the best of them made in full and read on test rows."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

import edgekit
from edgekit.config.address import without_password
from edgekit.config.recipe import Recipe
from edgekit.config.target import best_target, load_target
from edgekit.device.inventory import Device
from edgekit.draft.draft import BF16
from edgekit.errors import BadInput, EdgekitError, NotPossibleHere
from edgekit.host import detect
from edgekit.models.facts import ModelFacts
from edgekit.plan.facts import original_facts
from edgekit.plan.needs import fetch, needs_of
from edgekit.plan.plan import Plan
from edgekit.plan.recipes import load_recipe
from edgekit.plan.source import source_of
from edgekit.progress import Show, spent
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.outputs import check_output_folder
from edgekit.shared_store import open_shared
from edgekit.tasks import find_task
from edgekit.tuner.front import Bounds, Sampler, Values, front
from edgekit.tuner.space import Space, drawn_recipe, space_of
from edgekit.tuner.starts import begun_with, starts_of
from edgekit.tuner.study import FAILED, WORKER, Claimed, answering, attempts, claim, finished, give_back, open_study, suggest
from edgekit.tuner.trial import (
    Foreseen,
    Given,
    Original,
    foresee,
    is_trained,
    keeps_up,
    longer,
    measure,
    of_this_recipe,
    original_of,
    recipe_key,
    run_rung,
    rungs_of,
)
from edgekit.tuner.workers import Worker, at_work

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["Asked", "Searched", "search"]

MINUTES = 60.0
"""Where neither a time nor a number of trials is asked for."""
WAIT_SECONDS = 0.5
FEW_ROWS = 400
"""Validation rows below which it is said how far their order may be believed: a share of them has a standard error of up to 1 / (2 sqrt(rows))."""
MOST_REFUSED = 300
"""Draws in a row that cannot work, after which nothing else is expected of the space."""
MOST_FAILED = 10
"""Likewise trials that failed."""
MOST_REASONS = 3
TOOLS = ("torch", "transformers", "onnxruntime", "tokenizers", "optuna")
KEY, FORESEEN, RUNGS, MEASURED, SECONDS, REFUSED, UNTRAINED, STOPPED, SAME = (
    "key", "foreseen", "rungs", "measured", "seconds", "refused", "untrained", "stopped", "same_as",
)  # fmt: skip
"""What a trial says of itself in the study."""


@dataclass(frozen=True)
class Asked:
    """What the user said."""

    recipe: str
    """Name of a shipped recipe, or a file."""
    target: str | None = None
    build: Path = Path("build")
    bounds: Bounds = field(default_factory=Bounds)
    minutes: float | None = None
    trials: int | None = None
    storage: str | None = None
    sampler: Sampler = "tpe"
    seed: int | None = None
    """Of the draws; None: the recipe's."""
    store: str | None = None
    """Address of a store that machines share."""
    device: Device | None = None
    """The machine that trials are timed on; None: this one, where it is of the target's kind."""


@dataclass(frozen=True)
class Searched:
    """A study as it stands, with what it was made with."""

    given: Given
    original: Original
    space: Space
    bounds: Bounds
    folder: Path
    name: str
    trials: Sequence[FrozenTrial]
    """Those that came to an end, in the order of drawing."""
    waiting: bool
    """Whether other workers are still at it."""
    sampler: Sampler
    study: Study
    at: str
    """Where the study lies, as messages show it."""

    @property
    def complete(self) -> list[FrozenTrial]:
        """Those that were trained in full and measured."""
        return [trial for trial in self.trials if trial.state.name == "COMPLETE"]

    @property
    def front(self) -> list[FrozenTrial]:
        """Of these, what no other is better than in everything, the best quality first."""
        values = [values_in(trial) for trial in self.complete]
        return sorted((self.complete[number] for number in front(values)), key=lambda trial: -trial.values[0])

    def over(self, trial: FrozenTrial) -> dict[str, float]:
        """How far each bound is from being kept on validation rows; 0 or less where it is."""
        quality, cost, size = values_in(trial)
        return self.bounds.over(self.original.quality - quality, 1 / cost if self.given.timed else None, size)

    def recipe(self, trial: FrozenTrial) -> Recipe:
        """The recipe that a trial stands for."""
        return drawn_recipe(self.space, self.given.recipe, lambda name, one: trial.params[name])


def values_in(trial: FrozenTrial) -> Values:
    """(quality, cost, size) of a complete trial."""
    quality, cost, size = trial.values
    return quality, cost, size


def search(asked: Asked, show: Show) -> Searched:
    """Search, or go on searching, as long as is asked for.

    Raises:
        EdgekitError: any fault of input, storage or machine; what was found stays in the study.
        KeyboardInterrupt: Ctrl-C; likewise.
    """
    host = detect()
    shared = None if asked.store is None else open_shared(asked.store)
    name, path, recipe = load_recipe(asked.recipe)
    fetch(needs_of(recipe, path.parent), show)
    target = load_target(asked.target or best_target(host).name)
    given = Given(name, path, recipe, target, host, asked.build, show, shared, asked.device)
    plan, _ = given.plan(recipe)
    given, recipe = replace(given, recipe=plan.recipe), plan.recipe  # with the length that the model's files say
    if find_task(recipe.task).kind != "encoder":
        raise BadInput(
            f"a search is for encoders, and {recipe.task} is of a language model", where=str(path),
            fix="choose its number format with `edgekit export`, which measures it ([quantize] format)",
        )  # fmt: skip
    bounds = _bounds(asked.bounds, recipe)
    folder = asked.build / f"{name}-{target.name}-study"
    check_output_folder(asked.build, "--build")
    facts, bf16 = _facts(given), bool(BF16 & host.isa)
    starts = starts_of(given, facts, bf16=bf16)
    space = space_of(
        recipe, facts, target.chosen(recipe.quantize), starts, kind="encoder", reads=find_task(recipe.task).reads, bf16=bf16
    )
    values = begun_with(space, recipe, starts)
    seed = recipe.seed if asked.seed is None else asked.seed
    study = open_study(
        asked.storage, folder, f"{name}-{target.name}", _identity(given, plan, space, bounds, asked.sampler, seed)
    )
    at = str(folder) if asked.storage is None else without_password(asked.storage)
    with (
        answering(at),
        at_work(study, folder, shared=asked.storage is not None) as worker,
    ):
        original = original_of(given)
        _check_rows(original, bounds, path)
        stop = _Stop(study, worker, asked.trials, MINUTES if asked.minutes is None and asked.trials is None else asked.minutes)
        _say_what_counts(given, original, bounds, show)
        in_vain: list[str] = []
        while not stop.reached():
            claimed = claim(study, worker, seed, asked.sampler, values)
            why = _run(study, claimed, given, original, space, bounds, stop, proven=claimed.index < len(values))
            in_vain = [*in_vain, why] if why else []
            if len(in_vain) >= MOST_REFUSED or sum(one.startswith(FAILED) for one in in_vain) >= MOST_FAILED:
                raise BadInput(
                    f"of the last {len(in_vain)} recipes that were drawn none works", where=str(folder),
                    faults=[f"{why} ({times} of them)" for why, times in Counter(in_vain).most_common(MOST_REASONS)],
                    fix="search around a recipe that `edgekit export` makes; where what is said above is mended, the same command goes on",
                )  # fmt: skip
        waiting = stop.others_at_work()
        trials = finished(study)
    return Searched(given, original, space, bounds, folder, f"{name}-{target.name}", trials, waiting, asked.sampler, study, at)


class _Stop:
    """When to stop: after so many trials of the whole study, or so much time of this worker."""

    def __init__(self, study: Study, worker: Worker, trials: int | None, minutes: float | None) -> None:
        self.study, self.worker, self.trials, self.minutes = study, worker, trials, minutes
        tries = study.get_trials(deepcopy=False)
        self.before = sum(trial.user_attrs.get(SECONDS, 0.0) for trial in tries if trial.user_attrs.get(WORKER) == worker.name)
        self.began = time.monotonic()

    def seconds_left(self) -> float | None:
        """None where no time is asked for."""
        return None if self.minutes is None else 60 * self.minutes - self.before - (time.monotonic() - self.began)

    def done(self) -> int:
        """Trials that came to an end, but for those that could not work."""
        return sum(REFUSED not in trial.user_attrs for trial in finished(self.study))

    def reached(self) -> bool:
        """Whether it is time."""
        left = self.seconds_left()
        if left is not None and left <= 0:
            return True
        if self.trials is None:
            return False
        while self.done() + len(taken := self._taken()) >= self.trials:
            if all(self.worker.is_there(name) for name in taken):
                return True
            time.sleep(WAIT_SECONDS)  # until the others count on, or are gone and leave their trials to this one
        return False

    def others_at_work(self) -> bool:
        """Whether others are at trials; waits until each that has one gave a sign, or is gone."""
        while taken := self._taken():
            if all(self.worker.is_there(name) for name in taken):
                return True
            time.sleep(WAIT_SECONDS)
        return False

    def _taken(self) -> list[str | None]:
        """The workers of trials that are being run by others, who are not gone as far as it is known."""
        last = [tries[-1] for tries in attempts(self.study.get_trials(deepcopy=False)).values()]
        running = [(trial.user_attrs.get(WORKER), trial.number) for trial in last if trial.state.name == "RUNNING"]
        return [name for name, number in running if not self.worker.has_left(name, number)]


def _run(
    study: Study, claimed: Claimed, given: Given, original: Original, space: Space, bounds: Bounds, stop: _Stop, *, proven: bool
) -> str:
    """Run one trial to its end; returns why it cannot work or failed, else "". One that is interrupted is given back."""
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        return _tried(study, claimed, given, original, space, bounds, stop, proven=proven)
    except UpdateFinishedTrialError:  # as after a machine slept, or a storage was out of reach
        given.show.line("  given up: no sign of this worker was seen for a while, and the trial was given to whoever asks next")
        return ""
    except BaseException:
        with (
            suppress(NotPossibleHere),
            answering(""),
        ):  # a storage that is gone: the trial is given back when this worker is here again
            give_back(study, claimed.trial.number)
        raise


def _tried(
    study: Study, claimed: Claimed, given: Given, original: Original, space: Space, bounds: Bounds, stop: _Stop, *, proven: bool
) -> str:
    from optuna.trial import TrialState

    trial, began = claimed.trial, time.monotonic()

    def end(state: TrialState, said: dict[str, Any], values: Values | None = None) -> None:
        for name, value in {**said, SECONDS: time.monotonic() - began}.items():
            trial.set_user_attr(name, value)
        study.tell(trial, values, state=state, skip_if_finished=True)

    try:
        recipe = drawn_recipe(space, given.recipe, suggest(trial))
        given.plan(recipe)
    except (ValidationError, BadInput) as fault:
        end(TrialState.PRUNED, {REFUSED: _words(fault)})
        return f"{REFUSED}: {_words(fault)}"
    key = hashlib.sha256(recipe_key(recipe).encode()).hexdigest()[:16]
    trial.set_user_attr(KEY, key)
    others = [one for one in finished(study) if one.number != trial.number]
    twin = next(
        (one for one in others if one.user_attrs.get(KEY) == key and one.state in (TrialState.COMPLETE, TrialState.PRUNED)),
        None,
    )
    if twin is not None:
        for name, value in twin.constraints.items():
            trial.set_constraint(name, value)
        copied = {
            name: twin.user_attrs[name] for name in (FORESEEN, RUNGS, MEASURED, UNTRAINED, STOPPED) if name in twin.user_attrs
        }
        end(twin.state, {**copied, SAME: twin.number}, values_in(twin) if twin.state == TrialState.COMPLETE else None)
        return ""
    title = f"trial {claimed.index + 1}: {outline(recipe)}"
    given.show.line(title)
    foreseen = foresee(given, original, recipe, bounds)
    if foreseen is not None:
        trial.set_user_attr(FORESEEN, foreseen.document())
        broken = {name: share for name, share in foreseen.over(bounds).items() if share > 0}
        if broken:
            for name, share in broken.items():
                trial.set_constraint(name, share)
            why = " and ".join({"smaller": "too large", "faster": "too slow"}[name] for name in broken)
            end(TrialState.PRUNED, {UNTRAINED: f"its shapes are {why}, whatever it is taught"})
            given.show.line(f"  not trained: {foreseen.size_mb:.2f} MB{_speed(foreseen)}, {why} whatever it is taught")
            return ""
    rungs: list[JsonObject] = []
    lengths = rungs_of(recipe)
    if proven:  # nobody has to find out whether it is worth its training, but for whether there is time for it
        lengths = lengths[-1:] if stop.seconds_left() is None or is_trained(given, recipe) else [*lengths[:-1][:1], lengths[-1]]
    for share, short in lengths:
        left = stop.seconds_left()
        if (
            rungs
            and left is not None
            and left < float(str(rungs[-1]["new_seconds"])) * (longer(lengths[0][1], short) if proven else 3)
        ):
            end(TrialState.PRUNED, {STOPPED: "no time was left to train it for longer"})
            return ""
        try:
            rung, model, checkpoint = run_rung(given, original, share, short)
            found = measure(given, original, model, checkpoint) if share == 1 and given.timed else None
        except Exception as fault:
            if not of_this_recipe(fault):
                raise
            end(TrialState.FAIL, {FAILED: _words(fault)})
            given.show.line(f"  failed: {_words(fault)}")
            return f"{FAILED}: {_words(fault)}"
        rungs.append(rung.document())
        trial.set_user_attr(RUNGS, rungs)
        trial.set_user_attr(SECONDS, time.monotonic() - began)
        if (
            share < 1
            and not proven
            and not keeps_up(rung, [one for other in others for one in other.user_attrs.get(RUNGS, ())])
        ):
            end(TrialState.PRUNED, {STOPPED: f"others do better after {share:.0%} of its training"})
            given.show.line(f"  stopped after {share:.0%} of its training, at {rung.quality:.2%}")
            return ""
    cost = rung.multiplications if found is None else 1 / found["times"]
    over = bounds.over(original.quality - rung.quality, None if found is None else found["times"], rung.size_mb)
    values = (rung.quality, cost, rung.size_mb)
    for name, share in over.items():
        trial.set_constraint(name, share)
    end(TrialState.COMPLETE, {} if found is None else {MEASURED: found}, values)
    given.show.line(f"  {_figures(given, original, values)}{_best(study, given, original, bounds)}{_left(stop)}")
    return ""


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


def _speed(foreseen: Foreseen) -> str:
    return "" if foreseen.times is None else f", {foreseen.times['times']:.2f}x fp32"


def _figures(given: Given, original: Original, values: Values) -> str:
    quality, cost, size = values
    speed = f"{1 / cost:.2f}x fp32" if given.timed else f"{cost:.0%} of the multiplications"
    return f"{quality:.2%} ({100 * (quality - original.quality):+.2f}), {speed}, {size:.2f} MB"


def _best(study: Study, given: Given, original: Original, bounds: Bounds) -> str:
    """The fastest so far that keeps the budget."""
    kept = [
        values_in(trial)
        for trial in finished(study)
        if trial.state.name == "COMPLETE" and all(over <= 0 for over in trial.constraints.values())
    ]
    if not kept:
        return "; none keeps the budget so far"
    return f"; fastest in budget: {_figures(given, original, min(kept, key=lambda one: one[1]))}"


def _left(stop: _Stop) -> str:
    left = stop.seconds_left()
    parts = [f"{stop.done()} of {stop.trials} trials"] if stop.trials is not None else []
    parts += [f"{spent(max(0.0, left))} left"] if left is not None else []
    return f"; {', '.join(parts)}"


def _words(fault: Exception) -> str:
    if isinstance(fault, ValidationError):
        return "; ".join(one["msg"] for one in fault.errors())
    if isinstance(fault, EdgekitError):
        return "; ".join([fault.what, *fault.faults])
    return f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}"


def _bounds(asked: Bounds, recipe: Recipe) -> Bounds:
    """What is asked for, or else what the recipe accepts."""
    accept = recipe.accept
    return Bounds(
        accept.max_quality_drop if asked.lose is None else asked.lose,
        accept.min_speedup if asked.faster is None else asked.faster,
        accept.max_size_mb if asked.smaller is None else asked.smaller,
    )


def _facts(given: Given) -> ModelFacts:
    source = source_of(given.recipe, given.path)
    return original_facts(given.recipe, source.model, source.adapter)


def _check_rows(original: Original, bounds: Bounds, path: Path) -> None:
    """Rows too few to tell what may be lost; that nothing is, any number of them tells as far as it goes."""
    if not bounds.lose or original.rows * bounds.lose >= 1:
        return
    raise BadInput(
        f"{original.rows} validation rows cannot tell whether {bounds.lose:.2%} are lost: one row is {1 / original.rows:.1%}", where=str(path),
        fix=f"give {round(1 / bounds.lose)} or more validation rows, or allow a larger loss (--lose)",
    )  # fmt: skip


def _say_what_counts(given: Given, original: Original, bounds: Bounds, show: Show) -> None:
    how = (
        f"speed is measured on {given.device.shown()}, from text to answer" if given.device is not None else
        "speed is measured here, from text to answer" if given.timed else
        f"this machine is not {given.target.name}, so that the search is by size and multiplications and nothing is timed (--device measures on one)"
    )  # fmt: skip
    asked = [f"lose at most {bounds.lose:.2%}"] if bounds.lose is not None else []
    asked += [f"{bounds.faster:g}x fp32"] if bounds.faster is not None and given.timed else []
    asked += [f"{bounds.smaller:g} MB"] if bounds.smaller is not None else []
    show.line(f"  {how}; the original: {original.quality:.2%} on {original.rows:,} validation rows, {original.size_mb:.2f} MB")
    if original.rows < FEW_ROWS:
        show.line(
            f"  {original.rows} validation rows are few to choose among recipes by: two that differ by {2 / original.rows**0.5:.0%} may "
            "stand in either order"
        )
    show.line(f"  budget: {', '.join(asked) or 'none, so that the whole front is searched'}")
    if bounds.faster is not None and not given.timed:
        show.line(
            f"  {bounds.faster:g} times as fast as fp32 is not looked at, as nothing is timed: name a machine that can (--device)"
        )


def _identity(given: Given, plan: Plan, space: Space, bounds: Bounds, sampler: Sampler, seed: int) -> JsonObject:
    """What workers of one study have in common."""
    return {
        "original": plan.original.key, "rows": plan.rows.key, "target": given.target.name, "timed": given.timed,
        "timed on": None if given.device is None else given.device.shown(), "sampler": sampler, "seed": seed,
        "longest text": given.recipe.model.max_length, "calibration": given.recipe.calibration.model_dump(mode="json"),
        "settings of the target": given.target.model_dump(mode="json", exclude={"title", "rank"}),
        "space": hashlib.sha256(json.dumps(space.document(), sort_keys=True).encode()).hexdigest(),
        "budget": [bounds.lose, bounds.faster, bounds.smaller],
        **{f"version of {tool}": metadata.version(tool) for tool in TOOLS}, "version of edgekit": edgekit.__version__,
    }  # fmt: skip
