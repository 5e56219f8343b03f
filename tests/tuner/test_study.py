"""A study that is killed, shared, asked for with other words, or kept where nobody answers."""

from __future__ import annotations

import errno
import faulthandler
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from edgekit.config.target import load_target
from edgekit.errors import BadInput, CheckFailed, Interrupted, NotPossibleHere
from edgekit.plan.recipes import load_recipe
from edgekit.progress import Show
from edgekit.tuner import attempt, journal, results, run, storage, until, workers
from edgekit.tuner import study as study_module
from edgekit.tuner.front import Bounds
from edgekit.tuner.journal import Journal
from edgekit.tuner.mattered import explained, importances
from edgekit.tuner.records import AGAIN, TAKEN, finished, given_back
from edgekit.tuner.space import values_of
from edgekit.tuner.storage import answering
from edgekit.tuner.study import claim, give_back, open_study
from edgekit.tuner.trial import Foreseen, Given, Original
from edgekit.tuner.workers import at_work
from tests.conftest import ROOT
from tests.tuner import pretend
from tests.waiting import PATIENCE_SECONDS


def test_a_search_that_is_killed_tries_the_same_as_one_that_is_not(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.tuner.pretend", str(tmp_path), "--trials", "8", "--kills", "3"],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=400,
    )  # fmt: skip
    found = json.loads(done.stdout)
    whole, killed = found["whole"], found["killed"]
    count = len(whole["trials"])  # with those that cannot work, which count for none
    assert count >= 8 and killed["tries"] > count, "some were killed while a trial ran"
    assert killed["trials"] == whole["trials"] and killed["front"] == whole["front"]
    assert whole["repeated"] == 0 and whole["tries"] == count
    assert killed["repeated"] <= killed["tries"] - count, "what was run again had not come to its end"


def opened(folder: Path, **identity: Any) -> Any:
    folder.mkdir(exist_ok=True)
    return open_study(None, folder, "one", {"space": "s", **identity})


def test_a_trial_whose_worker_is_gone_is_given_back_once(tmp_path: Path) -> None:
    study = opened(tmp_path / "study")
    starts = [{"a": 1}, {"a": 2}]
    with at_work(study, tmp_path / "study", shared=False) as worker:
        lost = claim(study, worker, 7, "random", starts)
        assert lost.index == 0 and lost.trial.suggest_int("a", 0, 9) == 1
        give_back(study, lost.trial.number)
        give_back(study, lost.trial.number)  # another worker, at the same moment
    with at_work(study, tmp_path / "study", shared=False) as worker:
        again = claim(study, worker, 7, "random", starts)
        assert (again.index, again.trial.user_attrs[AGAIN], again.trial.suggest_int("a", 0, 9)) == (0, 0, 1)
        study.tell(again.trial, (1.0, 1.0, 1.0))
        following = claim(study, worker, 7, "random", starts)
        assert following.index == 1 and following.trial.suggest_int("a", 0, 9) == 2
        study.enqueue_trial({"a": 1}, user_attrs={AGAIN: 0})  # another worker, which saw that too late
        study.tell(following.trial, (2.0, 1.0, 1.0))
        third = claim(study, worker, 7, "random", starts)
        assert third.index == 2 and AGAIN not in third.trial.user_attrs
    assert [trial.values for trial in finished(study)] == [[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]]
    said = [set(trial.user_attrs) - {"worker"} for trial in study.trials]
    assert said == [set(), {AGAIN}, set(), {AGAIN, TAKEN}, set()]
    assert [given_back(trial) for trial in study.trials] == [True, False, False, False, False]


def test_two_workers_of_one_folder_know_each_other(tmp_path: Path) -> None:
    study, folder = opened(tmp_path / "study"), tmp_path / "study"
    with at_work(study, folder, shared=False) as first:
        with at_work(study, folder, shared=False) as second:
            assert (first.slot, second.slot) == (1, 2)
            assert not first.has_left(second.name, 0) and not second.has_left(first.name, 0)
            assert not first.has_left(None, 0), "the other one may just have begun it"
        assert first.has_left(second.name, 0) and first.has_left(None, 0)
        assert first.has_left(first.name, 0), "asked between trials, where it has none"


def test_a_worker_elsewhere_is_gone_once_its_count_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of whoever watches: that of the other machine may say anything."""
    study, now = opened(tmp_path / "here"), [0.0]
    monkeypatch.setattr("edgekit.tuner.workers.time.monotonic", lambda: now[0])
    with at_work(study, tmp_path / "here", shared=False) as worker:
        for moment, count, gone in ((0, 1, False), (80, 2, False), (160, 2, False), (171, 2, True)):
            now[0] = moment
            study.set_user_attr("beat elsewhere/1", count)
            assert worker.has_left("elsewhere/1", 0) == gone, moment


def test_a_worker_whose_storage_does_not_answer_once_gives_signs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the others take it for gone, and run its trial a second time beside it."""
    monkeypatch.setattr(workers, "BEAT_SECONDS", 0.01)
    study, asked, again = opened(tmp_path / "here"), list[str](), threading.Event()
    told = study.set_user_attr

    def tell(name: str, value: str) -> None:
        asked.append(name)
        if len(asked) == 1:
            raise OperationalError("update", {}, Exception("server closed the connection unexpectedly"))
        told(name, value)
        again.set()

    monkeypatch.setattr(study, "set_user_attr", tell)
    with at_work(study, tmp_path / "here", shared=True) as worker:
        assert again.wait(PATIENCE_SECONDS)
    assert f"beat {worker.name}" in study.user_attrs


def test_a_copied_build_folder_is_another_worker(tmp_path: Path) -> None:
    """Two machines, one with a copy of the other's folder: each would take the other's trial for one of its own earlier life."""
    study = opened(tmp_path / "one")
    with at_work(study, tmp_path / "one", shared=False):
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        with at_work(study, tmp_path / "one", shared=False) as second, at_work(study, tmp_path / "two", shared=False) as copied:
            assert second.place != copied.place
    (tmp_path / "one").rename(tmp_path / "moved")
    with at_work(study, tmp_path / "moved", shared=False) as moved:
        assert moved.place == second.place, "it is still the folder that its trials were begun in"


@pytest.mark.parametrize("sign", [None, "elsewhere/1"])
def test_the_end_waits_for_a_sign_of_whoever_has_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: str | None
) -> None:
    """By --minutes too: one that was killed elsewhere was waited for by each later start anew, and no point was ever made."""
    monkeypatch.setattr(workers, "GONE_SECONDS", 0.3)
    monkeypatch.setattr(until, "WAIT_SECONDS", 0.05)
    study = opened(tmp_path / "here")
    with at_work(study, tmp_path / "here", shared=True) as worker:
        ended = until.Until(study, worker, None, 0.0)
        study.enqueue_trial({"a": 1})  # given back, and nobody's yet
        assert ended.reached() and not ended.others_at_work()
        trial = study.ask()
        if sign is not None:
            trial.set_user_attr("worker", sign)
        assert not ended.others_at_work(), "it is gone"
        counted = [0]

        def count(seconds: float) -> None:
            counted[0] += 1
            study.set_user_attr("beat elsewhere/1", counted[0])

        if sign is not None:
            worker.seen.clear()
            monkeypatch.setattr(until.time, "sleep", count)
            assert ended.others_at_work() and counted[0] <= 2, "it counts on"


@pytest.mark.parametrize("name", ["what?x=1", "a%20b", "{x}", "a#b & c", "Ünï 日本"])
def test_a_folder_of_any_name_has_its_study_in_it(tmp_path: Path, name: str) -> None:
    opened(tmp_path / name).set_user_attr("said", True)
    assert (tmp_path / name / "study.db").stat().st_size and [path.name for path in tmp_path.iterdir()] == [name]
    assert opened(tmp_path / name).user_attrs["said"]


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are pretended in `tmp_path`, and are as they are once the test is over."""
    for name in ("original_of", "_rows_of"):
        monkeypatch.setattr(run, name, getattr(run, name))
    for name in ("run_rung", "foresee", "measure"):
        monkeypatch.setattr(attempt, name, getattr(attempt, name))
    monkeypatch.setattr(Given, "timed", Given.timed)
    pretend.pretend(tmp_path)


def asked_under(folder: Path, trials: int, **bounds: float) -> run.Asked:
    return replace(pretend.asked(folder, trials), bounds=Bounds(**bounds))


@pytest.mark.usefixtures("pretended")
def test_another_budget_is_asked_of_the_trials_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what the other one left untrained is tried, where this one leaves it open."""

    def foresee(given: Given, original: Original, recipe: Any, bounds: Bounds) -> Foreseen | None:
        size = pretend.pretended(1, recipe).size_mb
        return None if bounds.smaller is None else Foreseen(size, size / 40, None)

    monkeypatch.setattr(attempt, "foresee", foresee)
    small = run.search(asked_under(tmp_path, 4, smaller=12.0), Show(silent=True))
    left = [trial.number for trial in small.trials if "untrained" in trial.user_attrs]
    assert left and len(small.trials) > len(left)
    assert all(trial.constraints["smaller"] > 0 for trial in small.trials if trial.number in left)
    known, tries = {trial.number: trial.values for trial in small.complete}, len(small.study.trials)

    large = run.search(asked_under(tmp_path, 4, smaller=100.0, lose=0.001), Show())
    said = capsys.readouterr().err
    assert "searched before to" in said and f"take at most 12 MB: {len(small.trials) - len(left)} trials of that" in said
    assert not any("untrained" in trial.user_attrs for trial in large.trials)
    assert len(large.study.trials) == tries + len(left), "each of them was tried once more, and nothing else"
    assert {trial.number: trial.values for trial in large.complete if trial.number in known} == known
    assert all(trial.constraints["lose"] == large.over(trial)["lose"] for trial in large.complete)
    runs = (tmp_path / pretend.RUNS).read_text().split()
    assert len(runs) == len(set(runs)), "none was run twice"

    again = run.search(asked_under(tmp_path, 4, smaller=12.0), Show(silent=True))
    assert len(again.study.trials) == tries + len(left) and len(again.trials) == len(large.trials)


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, Interrupted])
def test_an_interrupted_search_says_what_is_kept_and_writes_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interruption: type[BaseException]
) -> None:
    """With the points that it had made before, under the same budget. Ctrl-C amid a measurement made a trial that failed."""
    asked, run_rung, runs = pretend.asked(tmp_path, 3), attempt.run_rung, list[int]()
    folder = tmp_path / "intents-x86-vnni-study"
    folder.mkdir()
    point = {"trial": 0, "recipe": "a.toml", "steps": "", "missed": [], "kept_on_validation": True, "kept": True,
             "validation": {"quality": 0.95, "cost": 1.0, "size_mb": 3.0, "times": None},
             "test": {"value": 0.9, "n": 200, "difference": 0.0, "ci95": [0.0, 0.0]}}  # fmt: skip
    asked_for = vars(run._bounds(asked.bounds, load_recipe("intents")[2]))
    (folder / "study.json").write_text(json.dumps({"points": [point], "budget": asked_for}))

    def interrupted(*given: Any) -> Any:
        runs.append(1)
        if len(runs) == 3:
            raise interruption
        return run_rung(*given)

    monkeypatch.setattr(attempt, "run_rung", interrupted)
    monkeypatch.setattr(run, "PAGE_SECONDS", 0.0)
    monkeypatch.setattr(results, "finish", lambda searched: pytest.fail("it was not interrupted"))
    for bounds, left in ((asked.bounds, [point]), (Bounds(lose=0.04, faster=2.0), [])):
        with pytest.raises(interruption):
            results.tuned(replace(asked, bounds=bounds), Show())
        said = " ".join(capsys.readouterr().err.split())
        document = json.loads((folder / "study.json").read_text())
        assert f"interrupted: 2 trials came to their end and stay in the study, in {folder}" in said
        assert (
            "the same command goes on" in said
            and "--trials 2 instead of --minutes makes the points" in said
            and not document["over"]
            and document["points"] == left
        )
        assert "The search is not over. The same command goes on with it." in (folder / "study.html").read_text()
        runs[:] = [1, 1]
    runs.append(1)  # no further one
    assert len(run.search(asked, Show(silent=True)).trials) == 3


@pytest.mark.usefixtures("pretended")
def test_a_search_that_is_interrupted_before_its_first_trial_says_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(given: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "original_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.search(pretend.asked(tmp_path, 1), Show())
    said = " ".join(capsys.readouterr().err.split())
    assert "before any trial came to its end: what was made stays in the store, and the same command goes on" in said


def searched_in_a_child(asked: run.Asked) -> int:
    """The signal that ended it, 0 where it came to its end."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()  # pytest's
        try:
            run.search(asked, Show(silent=True))
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize("cause", ["ran out of memory", "crashed (Aborted)", "was killed"])
def test_a_trial_that_ends_its_own_process_twice_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cause: str
) -> None:
    """It was begun again at each start, for ever. A kill by somebody is no fault of the trial, however often it comes."""
    counters, run_rung, asked = tmp_path / "vmstat", attempt.run_rung, pretend.asked(tmp_path, 2)
    monkeypatch.setattr(workers, "COUNTERS", counters)
    counters.write_text("pgfault 1\noom_kill 7\n")

    def fatal(*given: Any) -> Any:
        if (tmp_path / pretend.RUNS).is_file():
            return run_rung(*given)
        if cause == "ran out of memory":
            counters.write_text(f"pgfault 1\noom_kill {int(counters.read_text().split()[-1]) + 1}\n")
        return os.kill(os.getpid(), signal.SIGABRT if "Aborted" in cause else signal.SIGKILL)

    monkeypatch.setattr(attempt, "run_rung", fatal)
    assert searched_in_a_child(asked) and searched_in_a_child(asked)
    monkeypatch.setattr(attempt, "run_rung", run_rung)
    first = run.search(asked, Show()).trials[0]
    said = capsys.readouterr().err
    if cause == "was killed":
        assert first.state.name == "COMPLETE" and "once more" not in said
    else:
        assert (
            first.user_attrs["failed"] == f"the process {cause} each time that it ran, 2 times"
            and first.user_attrs["failed"] in said
        )
    assert not list(tmp_path.glob("*-study/workers/*.life")), "a search that ends leaves none"


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize("others", ["waiting", "finished"])
def test_a_result_of_a_trial_that_was_given_away_counts_where_it_is_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: str
) -> None:
    """As after a machine slept while it trained: hours of training were thrown away."""
    run_rung, given_away = attempt.run_rung, list[int]()

    def slept(*given: Any) -> Any:
        found = run_rung(*given)
        if not given_away:
            given_away.append(1)
            study = optuna.load_study(
                study_name="intents-x86-vnni", storage=f"sqlite:///{tmp_path}/intents-x86-vnni-study/study.db"
            )
            give_back(study, 0)
            first = study.get_trials()[0]
            study.enqueue_trial({**first.system_attrs["fixed_params"], **first.params}, user_attrs={AGAIN: 0})
            if others == "finished":
                study.tell(study.ask(), (0.5, 0.5, 0.5))
        return found

    monkeypatch.setattr(attempt, "run_rung", slept)
    found = run.search(pretend.asked(tmp_path, 2), Show(silent=True))
    (first,) = (trial for trial in found.trials if trial.user_attrs.get(AGAIN, trial.number) == 0)
    assert first.state.name == "COMPLETE" and (first.values == [0.5, 0.5, 0.5]) == (others == "finished")
    runs = (tmp_path / pretend.RUNS).read_text().split()
    assert len(found.trials) == 2 and len(runs) == len(set(runs)), "it is not run again"
    if others != "finished":
        assert first.user_attrs["rungs"] and first.params and first.user_attrs["key"] == runs[0]


@pytest.mark.usefixtures("pretended")
def test_a_point_that_cannot_be_made_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where its audit finds a kernel that the target forbids: it ended the whole search, at its end, each time."""
    found = run.search(asked_under(tmp_path, 3, lose=1.0, smaller=100.0), Show(silent=True))
    faults = [CheckFailed("audit: node_7 in floating point")]

    def point(searched: Any, trial: Any) -> results.Point:
        if faults:
            raise faults.pop()
        quality, cost, size = trial.values
        validation: Any = {"quality": quality, "cost": cost, "size_mb": size, "times": None}
        test: Any = {"value": quality, "n": 200, "difference": 0.0, "ci95": [0.0, 0.0]}
        return results.Point(trial.number, tmp_path / f"{trial.number}.toml", tmp_path, (), validation, test, "", True)

    monkeypatch.setattr(results, "_point", point)
    left = results.finish(found)
    assert left.points and len({one.recipe for one in left.points}) == len(left.points)
    assert len(left.document["tested"]) == len(left.points) + 1  # type: ignore[arg-type]
    assert "could not be made in full: audit: node_7 in floating point" in left.page.read_text()
    faults += [CheckFailed("agreement: of the original")] * 2
    left.page.unlink()
    with pytest.raises(CheckFailed, match="of the original"):
        results.finish(found)
    assert "could not be made in full: agreement: of the original" in left.page.read_text(), "what the search found stays"


@pytest.mark.usefixtures("pretended")
def test_a_search_in_which_nothing_new_is_drawn_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, and not once its hour is over."""
    monkeypatch.setattr(run, "MOST_AGAIN", 3)
    monkeypatch.setattr(run, "begun_with", lambda space, recipe, starts: [values_of(space, None)] * 9)
    found = run.search(replace(pretend.asked(tmp_path, 1), trials=None, minutes=60), Show(silent=True))
    assert len(found.trials) == 4 and len((tmp_path / pretend.RUNS).read_text().split()) == 1


@pytest.mark.usefixtures("pretended")
def test_a_trial_that_ends_in_an_error_of_its_own_ends_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command would begin with it again, and end there each time."""
    monkeypatch.setattr(run, "MOST_FAILED", 3)
    pretended, faults = attempt.run_rung, list[Any]([RuntimeError("singular\n matrix"), CheckFailed("no parity")])

    def run_rung(given: Any, original: Any, share: float, recipe: Any) -> Any:
        if faults and isinstance(faults[-1], Exception):
            raise faults.pop()
        if faults:
            faults.pop()()
        return pretended(given, original, share, recipe)

    monkeypatch.setattr(attempt, "run_rung", run_rung)
    found = run.search(pretend.asked(tmp_path, 3), Show(silent=True))
    failed = [trial.user_attrs["failed"] for trial in found.trials if trial.state.name == "FAIL"]
    assert failed == ["no parity", "RuntimeError: singular matrix"] and len(found.complete) >= 1
    faults += [NotPossibleHere("no space left")]
    with pytest.raises(NotPossibleHere, match="no space left"):
        run.search(pretend.asked(tmp_path, 4), Show(silent=True))
    assert given_back(found.study.get_trials()[-1]), "of this machine: tried again"
    taken = found.study.get_trials()[-1].number + 1
    faults.append(lambda: give_back(found.study, taken))  # by another worker, while this machine slept
    trials = run.search(pretend.asked(tmp_path, 4), Show(silent=True)).trials
    assert len(trials) == 4 and taken not in [trial.number for trial in trials]
    faults += [RuntimeError("the same each time")] * 5
    with pytest.raises(BadInput, match="none works") as fault:
        run.search(pretend.asked(tmp_path, 9), Show(silent=True))
    assert any("the same each time" in one for one in fault.value.faults) and len(faults) == 2


def test_workers_that_come_to_an_empty_database_at_once() -> None:
    faults: list[Exception] = [
        OperationalError("create", {}, sqlite3.OperationalError("database or disk is full")),
        IntegrityError("create", {}, Exception("duplicate key value violates unique constraint")),
        ProgrammingError("create", {}, Exception('relation "studies" already exists')),
    ]

    def make() -> Any:
        if len(faults) > 1:
            raise faults.pop()
        return "made"

    assert storage._made_by_one(make) == "made"

    def full() -> Any:
        raise faults[0]

    with pytest.raises(OperationalError):
        storage._made_by_one(full)


def test_what_a_study_is_of_is_told_setting_by_setting(tmp_path: Path) -> None:
    target = load_target("x86-vnni").model_dump(mode="json")
    opened(tmp_path / "study", target=target, original="0" * 64, calibration={"rows": 8, "method": "mse"})
    other = {**target, "session": {**target["session"], "memory_mb": 1}}
    with pytest.raises(BadInput, match="another study") as fault:
        opened(tmp_path / "study", target=other, original="1" * 64, calibration={"rows": 16, "method": "mse"})
    assert list(fault.value.faults) == [
        "calibration, rows: there 8, here 16", "original: another one there than here", "target, session, memory_mb: there nothing, here 1",
    ]  # fmt: skip


def test_another_study_is_not_gone_on_with(tmp_path: Path) -> None:
    opened(tmp_path / "study", **{"version of torch": "2.13.0"})
    with pytest.raises(BadInput, match="another study called one") as fault:
        opened(tmp_path / "study", **{"version of torch": "2.12.0"})
    assert list(fault.value.faults) == ["version of torch: there 2.13.0, here 2.12.0"]


@pytest.mark.parametrize("storage", ["study.journal", None])
def test_of_workers_of_different_versions_at_the_same_instant_one_is_refused(tmp_path: Path, storage: str | None) -> None:
    open_study(None if storage is None else str(tmp_path / storage), tmp_path, "made before, with its tables", {})
    for number in range(4):
        together, came = threading.Barrier(3), []

        def come(version: str, number: int = number, together: threading.Barrier = together, came: list[Any] = came) -> None:
            together.wait()
            try:
                came.append(
                    open_study(
                        None if storage is None else str(tmp_path / storage), tmp_path, f"{number}", {"version": version}
                    )
                )
            except BadInput as fault:
                came.append(fault)

        workers = [threading.Thread(target=come, args=(version,)) for version in ("1.1", "1.2", "1.3")]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        refused = [one for one in came if isinstance(one, BadInput)]
        assert len(refused) == 2 and all("holds another study" in str(one) for one in refused), came


def test_a_study_whose_maker_was_killed_before_it_said_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "SAID_SECONDS", 0.1)
    path = str(tmp_path / "journal")
    optuna.create_study(
        study_name="one", storage=JournalStorage(Journal(tmp_path / "journal")), directions=study_module.DIRECTIONS
    )
    open_study(path, tmp_path, "one", {"version": "1.1"})
    with pytest.raises(BadInput, match="holds another study"):
        open_study(path, tmp_path, "one", {"version": "1.2"})


def journalled(path: Path, trials: int = 4) -> Any:
    """A study in a journal, with as many trials."""
    study = open_study(str(path), path.parent, "one", {"version": "1.1"})
    for number in range(trials):
        study.add_trial(optuna.trial.create_trial(values=[number, 2, 3]))
    return study


def test_a_journal_that_was_cut_in_its_middle_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journalled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    for gone in range(len(lines) - 1):
        path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
        with pytest.raises(BadInput, match=r"the journal was cut: before line \d+"):
            open_study(str(path), tmp_path, "one", {"version": "1.1"})
    middle = len(b"".join(lines)) // 2
    for cut in (1, 40, 400):  # bytes, so that two lines become one
        path.write_bytes(b"".join(lines)[:middle] + b"".join(lines)[middle + cut :])
        with pytest.raises(BadInput, match=r"journal was (cut|changed)|no storage of a study"):
            open_study(str(path), tmp_path, "one", {"version": "1.1"})


def test_the_unfinished_last_line_of_a_killed_worker_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journalled(path)
    whole = path.read_bytes()
    for left in (1, 30):
        path.write_bytes(whole + b'{"op_code":4,"worker_id":"gone","before":0,"study_id":0'[:left])
        study = open_study(str(path), tmp_path, "one", {"version": "1.1"})
        assert len(study.trials) == 4
        study.add_trial(optuna.trial.create_trial(values=[9, 2, 3]))
        assert path.read_bytes().startswith(whole + b"{") and len(journalled(path, 0).trials) == 5


def test_a_lock_that_a_killed_worker_left_beside_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it leads to: a journal may be seen at one path here, and at another one on the next machine."""
    monkeypatch.setattr(journal, "LEFT_SECONDS", 0.2)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shared").mkdir()
    study, link = journalled(Path("shared/journal")), tmp_path / "shared" / "journal.lock"
    link.symlink_to("shared/journal")
    study.add_trial(optuna.trial.create_trial(values=[9, 2, 3]))
    assert not link.is_symlink() and len(journalled(tmp_path / "shared" / "journal", 0).trials) == 5


def test_writers_of_one_journal_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.touch()
    with journal._locked(path):
        writer = threading.Thread(target=journalled, args=(path, 0))
        writer.start()
        writer.join(0.3)
        assert writer.is_alive() and not path.read_bytes()
    writer.join(PATIENCE_SECONDS)
    assert path.read_bytes()


@pytest.mark.parametrize("fault", ["full", "gone"])
def test_a_journal_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    study = journalled(tmp_path / "journal")
    if fault == "gone":
        (tmp_path / "journal").unlink()
    else:
        monkeypatch.setattr(
            journal.os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))
        )
    with pytest.raises(NotPossibleHere, match=r"No space left on device|No such file"), answering("here"):
        study.add_trial(optuna.trial.create_trial(values=[9, 2, 3]))


def test_a_journal_that_becomes_shorter_under_a_worker_is_said(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    study = journalled(path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    with pytest.raises(BadInput, match="shorter than it was"):
        study.add_trial(optuna.trial.create_trial(values=[9, 2, 3]))


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("redis://host/0", BadInput, "no storage of this kind: redis"),
        ("no/such/folder/study.log", BadInput, "no file for a journal"),
        ("sqlite:////proc/nothing/study.db", NotPossibleHere, "does not answer"),
        ("sqlite://", BadInput, "gone with this worker"),
        ("sqlite:study.db", BadInput, "no file for a journal"),
        ("/dev/null", BadInput, "no file for a journal"),
        ("/proc/journal", NotPossibleHere, "does not answer"),
        ("mysql://tuner:secret@127.0.0.1:1/x", NotPossibleHere, "driver for mysql is not installed"),
        ("postgresql://tuner:secret@host:port/x", BadInput, "no storage of a study"),
        ("postgresql://tuner:a/secret@127.0.0.1:1/x", NotPossibleHere, "does not answer"),
        ("postgresql://tuner@127.0.0.1:1/x?sslpassword=secret", NotPossibleHere, "does not answer"),
    ],
)
def test_storages_that_are_none(tmp_path: Path, url: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as fault:
        open_study(url, tmp_path, "one", {})
    assert "secret" not in f"{fault.value} {fault.value.where}"


def test_storages_of_others(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/others.db"
    optuna.create_study(study_name="one objective", storage=url)
    optuna.create_study(study_name="other ways", storage=url, directions=["minimize"] * 3)
    began = optuna.create_study(study_name="trials", storage=url, directions=["maximize", "minimize", "minimize"])
    began.add_trial(optuna.trial.create_trial(values=[1, 2, 3]))
    for name in ("one objective", "other ways", "trials"):
        with pytest.raises(BadInput, match="that edgekit did not begin"):
            open_study(url, tmp_path, name, {"space": "s"})
    with sqlite3.connect(tmp_path / "others.db") as database:
        database.execute("update version_info set schema_version = 99")
        database.execute("update alembic_version set version_num = 'v99.0.0.a'")
    with pytest.raises(BadInput, match="written by another version"):
        open_study(url, tmp_path, "trials", {"space": "s"})
    for name, data in (("text", b"not json\n"), ("json", b'{"x": 1}\n'), ("bytes", bytes(range(256)))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadInput, match=r"no storage of a study of edgekit: (the file holds something else|line 1 is none)"):
            open_study(str(tmp_path / name), tmp_path, "one", {})


def test_a_full_disk_amid_a_study_is_said_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, folder = opened(tmp_path / "study"), tmp_path / "study"
    with at_work(study, folder, shared=False) as worker:
        study.tell(claim(study, worker, 7, "random", []).trial, (1.0, 1.0, 1.0))

        def full(*given: object, **named: object) -> None:
            raise OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full"))

        with monkeypatch.context() as patch:
            patch.setattr(optuna.storages.RDBStorage, "set_trial_user_attr", full)
            with pytest.raises(NotPossibleHere, match="disk is full"), answering(str(folder)):
                claim(study, worker, 7, "random", [])
        following = claim(study, worker, 7, "random", [])
    assert following.index == 1 and len(finished(study)) == 1


def studied(results: int, *, alike: bool = False) -> Any:
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=7))
    for number in range(results):
        trial = study.ask()
        quality, size = trial.suggest_float("quality", 0, 1), trial.suggest_float("size", 0, 1)
        study.tell(trial, (0.5, 1, 1) if alike else (quality, number, size))
    return study


def test_what_mattered() -> None:
    found = importances(studied(30))
    assert found["quality"]["quality"] > found["quality"]["size"] and found["size_mb"]["size"] > found["size_mb"]["quality"]
    assert all(0 <= share <= 1 for shares in found.values() for share in shares.values())


def test_what_mattered_where_it_is_known() -> None:
    """All combinations of three choices: size is one of them alone, quality that and another, cost none."""
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    choices: dict[str, tuple[Any, Any]] = {"embeddings": ("int8", "int4"), "mode": ("dynamic", "static"), "smooth": (None, 0.5)}
    distributions = {name: optuna.distributions.CategoricalDistribution(both) for name, both in choices.items()}
    for number, drawn in enumerate(product(*choices.values())):
        quality = 0.8 + 0.02 * (drawn[0] == "int8") + 0.01 * (drawn[1] == "static")
        values = [quality, 0.5, (24.6 if drawn[0] == "int8" else 19.9) + 1e-4 * number]
        study.add_trial(
            optuna.trial.create_trial(values=values, params=dict(zip(choices, drawn, strict=True)), distributions=distributions)
        )
    found = importances(study)
    assert found["size_mb"]["embeddings"] == pytest.approx(1, abs=1e-3) and "cost" not in found
    assert max(found["size_mb"][name] for name in ("mode", "smooth")) < 0.01
    assert found["quality"]["embeddings"] == pytest.approx(0.8, abs=0.04)
    assert found["quality"]["mode"] == pytest.approx(0.2, abs=0.15) and found["quality"]["smooth"] == 0


def test_what_chance_explains_is_taken_off() -> None:
    """Of results that no group sets apart about nothing is explained, in the mean of many, however many groups there are."""
    chance = np.random.default_rng(7)
    shares = [explained([int(one) for one in chance.integers(0, 6, 24)], chance.normal(size=24)) for _ in range(300)]
    assert np.mean(shares) < 0.08, "what is negative is told as 0"
    groups = [number % 3 for number in range(12)]
    assert explained(groups, np.array(groups, dtype=float)) == 1 and explained(list(range(12)), chance.normal(size=12)) == 0


def test_of_few_or_equal_results_nothing_mattered() -> None:
    """Each value got an equal share, of one result too."""
    assert importances(studied(0)) == importances(studied(7)) == importances(studied(30, alike=True)) == {}
    study = studied(1)
    for _ in range(20):
        study.add_trial(optuna.trial.create_trial(values=[1, 2, 3], user_attrs={"same_as": 0}))
    assert importances(study) == {}, "one recipe, however often it is drawn"


def test_a_journal_is_shared(tmp_path: Path) -> None:
    url = str(tmp_path / "study.journal")
    with at_work(open_study(url, tmp_path, "one", {"space": "s"}), tmp_path, shared=False) as worker:
        trial = claim(worker.study, worker, 7, "tpe", [{"a": 3}]).trial
        assert trial.suggest_int("a", 0, 9) == 3
        worker.study.tell(trial, (1.0, 2.0, 3.0))
    assert [trial.values for trial in finished(open_study(url, tmp_path / "elsewhere", "one", {"space": "s"}))] == [
        [1.0, 2.0, 3.0]
    ]
