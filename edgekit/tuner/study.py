"""The study: what was tried and what came of it, in one of Optuna's storages, for one worker or many.

A trial belongs to the worker that began it. One whose worker is gone is given back: it ends as failed, and the same values are tried
again under a new number, so that nothing that was drawn is lost. What a trial draws depends on the study's seed, on how many were drawn
before it and on what came of those, and on nothing else: a study of one worker that was killed draws what another draws.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.config.address import without_password
from edgekit.config.search import Choice, Integers, Range
from edgekit.errors import BadInput, NotPossibleHere
from edgekit.runtime.jsontypes import JsonObject
from edgekit.tuner.front import Sampler, Values
from edgekit.tuner.records import AGAIN, FIXED, SAME, SECONDS, TAKEN, WORKER, attempts, given_back, settled
from edgekit.tuner.space import Value
from edgekit.tuner.storage import answering, open_storage

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

    from edgekit.tuner.workers import Worker

__all__ = ["Claimed", "claim", "deaths", "give_back", "keep_result", "open_study", "own_seed", "suggest"]

IDENTITY, DIED = "identity", "died in "
STARTUP = 5
"""Trials before the first that tpe draws by what came of others."""
STUCK = 3
"""Draws in a row that were recipes tried before, after which one is drawn at random, until there is a new one."""
POPULATION = 20
"""Of a generation of nsga2."""
DIGEST = 64
"""Hexadecimal digits of a sha256, which tell people nothing."""
SAID_SECONDS = 5.0
"""Within which whoever makes a study says what it is."""
DIRECTIONS: Sequence[Literal["minimize", "maximize"]] = ("maximize", "minimize", "minimize")
"""Of quality, cost and size."""


def open_study(url: str | None, folder: Path, name: str, identity: JsonObject) -> Study:
    """The study `name` in the storage at `url`, or in `folder` where there is none; it is made where it is new.

    Raises:
        BadInput: no such storage, or it holds another study of this name.
        NotPossibleHere: optuna is not installed, or the storage does not answer.
    """
    try:
        import optuna
    except ImportError:
        raise NotPossibleHere("a search needs optuna", fix='pip install "edgekit[tune]"') from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    where = str(folder) if url is None else without_password(url)
    elsewhere = "for another search use another --build, or another --storage"
    try:
        with answering(where):
            storage = open_storage(url, folder)
            study, foreign = _begun(storage, name, identity)
            known = study.user_attrs.get(IDENTITY)
    except (ValueError, KeyError) as fault:
        raise BadInput(f"no storage of a study of edgekit: {fault}", where=where, fix=elsewhere) from None
    except RuntimeError as fault:  # a schema of another version of Optuna
        raise BadInput(
            f"the study was written by another version: {fault}", where=where, fix=f"use that version of optuna; {elsewhere}"
        ) from None
    if foreign:
        raise BadInput(f"holds a study called {name} that edgekit did not begin", where=where, fix=elsewhere)
    if differing := _differing(known, identity):
        raise BadInput(
            f"holds another study called {name}", where=where, faults=differing,
            fix=f"start workers of one study with the same command, files and versions; {elsewhere}, or remove the study",
        )  # fmt: skip
    return study


def _begun(storage: BaseStorage, name: str, identity: JsonObject) -> tuple[Study, bool]:
    """(the study, whether somebody else began it). Of several workers that come at once one makes it, and says what it is; the others wait for
    that, so that none goes on with a study that became another's."""
    import optuna

    with suppress(optuna.exceptions.DuplicatedStudyError):
        study = optuna.create_study(study_name=name, storage=storage, directions=DIRECTIONS)
        study.set_user_attr(IDENTITY, identity)
        return study, False
    study = optuna.load_study(study_name=name, storage=storage)
    if [way.name.lower() for way in study.directions] != list(DIRECTIONS):
        return study, True
    until = time.monotonic() + SAID_SECONDS
    while IDENTITY not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            return study, True
        if time.monotonic() > until:  # whoever made it was killed before it could say so
            study.set_user_attr(IDENTITY, identity)
            break
        time.sleep(0.05)
    return study, False


def _differing(known: object, identity: JsonObject, at: str = "") -> list[str]:
    """What of `identity` is not what is `known`, in words."""
    if not isinstance(known, Mapping):
        return [f"{at or 'it'}: says nothing that edgekit wrote"]
    said = []
    for name in sorted({*known, *identity}):
        there, here = known.get(name), identity.get(name)
        if there != here and isinstance(here, Mapping) and isinstance(there, Mapping):
            said += _differing(there, here, f"{at}{name}, ")
        elif there != here:
            digests = _is_digest(there) or _is_digest(here)
            said.append(
                f"{at}{name}: {'another one there than here' if digests else f'there {_short(there)}, here {_short(here)}'}"
            )
    return said


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == DIGEST and not value.strip("0123456789abcdef")


def _short(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(frozen=True)
class Claimed:
    """A trial that this worker runs now."""

    trial: Trial
    index: int
    """How many were drawn before it."""


def claim(
    study: Study,
    worker: Worker,
    seed: int,
    sampler: Sampler,
    starts: Sequence[Mapping[str, Value]],
    proposed: Callable[[Sequence[FrozenTrial], int], Mapping[str, Value] | None] = lambda before, seed: None,
) -> Claimed:
    """The next trial: one that was given back, else one of `starts`, else what is `proposed` (`edgekit.tuner.propose`) or the sampler draws."""
    import optuna

    _note_death(study, worker)
    while True:
        _give_back(study, worker)
        trials = study.get_trials(deepcopy=False)
        study.sampler = _sampler(
            sampler, seed, len(attempts(trials))
        )  # asked below only for what a group of values needs at once
        trial = study.ask()
        trial.set_user_attr(WORKER, worker.name)
        trials = study.get_trials(deepcopy=False)
        root = trial.user_attrs.get(AGAIN, trial.number)
        others = [other for other in attempts(trials)[root] if other.number != trial.number]
        if any(settled(other) or (other.number < trial.number and not other.state.is_finished()) for other in others):
            trial.set_user_attr(TAKEN, True)  # another worker gave the same trial back at the same moment, and has it
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        before = [tries[-1] for number, tries in sorted(attempts(trials).items()) if number < root]
        index = len(before)
        study.sampler = _sampler("random" if _stuck(before) else sampler, seed, index)
        given = next(one for one in trials if one.number == trial.number).system_attrs.get(FIXED)  # of one that was given back
        fixed = starts[index] if index < len(starts) else given or proposed(before, own_seed(seed, index))
        return Claimed(_asked_anew(study, trial, fixed), index)


def _stuck(trials: Sequence[FrozenTrial]) -> bool:
    """Whether the last of `trials` were recipes that had been tried: what did well is drawn again and again where it has few values."""
    last = trials[-STUCK:]
    return len(last) == STUCK and all(SAME in trial.user_attrs for trial in last)


def _asked_anew(study: Study, trial: Trial, fixed: Mapping[str, Value] | None) -> Trial:
    """`trial` as the study's sampler of now gives it, with `fixed` values.

    Which sampler and which values a trial has follows from how many were drawn before it, which two workers know only once each has
    a number of its own. Optuna's public `enqueue_trial` fixes values before a number is given, and `ask` takes whatever sampler is set then, so
    that this is the one place where its private names stand.
    """
    import optuna

    if fixed is not None:
        study._storage.set_trial_system_attr(trial._trial_id, FIXED, dict(fixed))
    return optuna.trial.Trial(study, trial._trial_id)


def _give_back(study: Study, worker: Worker) -> None:
    """End trials whose workers are gone, and queue the values of the first that has to be tried again."""
    import optuna

    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        if worker.has_left(trial.user_attrs.get(WORKER), trial.number):
            give_back(study, trial.number)
    for root, tries in attempts(study.get_trials(deepcopy=False)).items():
        last = tries[-1]
        if given_back(last):
            study.enqueue_trial({**last.system_attrs.get(FIXED, {}), **last.params}, user_attrs={AGAIN: root})
            return  # one at a time: there may be no time for the next


def _note_death(study: Study, worker: Worker) -> None:
    """Say of the trial that this worker's earlier life ended in, where the trial is what ended it, why."""
    why, worker.died = worker.died, None
    own = [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get(WORKER) == worker.name]
    if why is not None and own and (own[-1].state.name == "RUNNING" or given_back(own[-1])):
        root = own[-1].user_attrs.get(AGAIN, own[-1].number)
        study.set_user_attr(f"{DIED}{root}", [*deaths(study, root), why])


def deaths(study: Study, root: int) -> list[str]:
    """Why processes ended while they ran the trial that was drawn as number `root`, one after the other."""
    return list(study.user_attrs.get(f"{DIED}{root}", ()))


def keep_result(study: Study, number: int, said: Mapping[str, Any], values: Values | None, state: str) -> bool:
    """Add what a worker found of trial `number`, which was given to whoever asks next meanwhile; whether nobody's result was there yet."""
    import optuna

    trials = study.get_trials(deepcopy=False)
    lost = next(trial for trial in trials if trial.number == number)
    root = lost.user_attrs.get(AGAIN, number)
    if any(settled(other) for other in attempts(trials)[root]):
        return False
    took = said.get(SECONDS, 0.0) - lost.user_attrs.get(
        SECONDS, 0.0
    )  # what it said on the way stays with the one that was lost
    found = optuna.trial.create_trial(
        state=optuna.trial.TrialState[state], values=values, params=lost.params, distributions=lost.distributions,
        user_attrs={**lost.user_attrs, **said, SECONDS: max(0.0, took), AGAIN: root},
    )  # fmt: skip
    study.add_trial(found)
    return True


def give_back(study: Study, number: int) -> None:
    """End one trial, whose values are to be tried again; nothing where it has ended meanwhile."""
    import optuna

    with suppress(optuna.exceptions.UpdateFinishedTrialError):  # between its look and its end
        study.tell(number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)


def _sampler(kind: Sampler, seed: int, index: int) -> BaseSampler:
    """A sampler whose draws depend on `seed` and `index`, and on what came of earlier trials."""
    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    own = own_seed(seed, index)
    if kind in ("random", "gp"):  # a proposal fixes all values; of too few results there is none
        return samplers.RandomSampler(seed=own)
    if kind == "nsga2":
        return samplers.NSGAIISampler(seed=own, population_size=POPULATION)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of `constant_liar`
        # each value by itself: as groups, values of few trials each are drawn at random for long (`benchmarks/tune`)
        return samplers.TPESampler(seed=own, n_startup_trials=STARTUP, constant_liar=True)


def own_seed(seed: int, index: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {index}".encode()).digest()[:4], "big")


def suggest(trial: Trial) -> Callable[[str, Range], Value]:
    """What draws a trial's values."""

    def draw(name: str, one: Range) -> Any:
        if isinstance(one, Choice):
            return trial.suggest_categorical(name, one.values)
        if isinstance(one, Integers):
            return trial.suggest_int(name, one.low, one.high, log=one.log)
        return trial.suggest_float(name, one.low, one.high, log=one.log)

    return draw
