"""What a search does with its time. Trainings are pretended, on a clock that they alone move."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.config.recipe import Recipe
from edgekit.plan.plan import BUNDLE, in_order
from edgekit.progress import Show
from edgekit.tuner import attempt, duration, run, until
from edgekit.tuner.nearest import nearest
from edgekit.tuner.records import NEEDS, seconds_of
from edgekit.tuner.trial import Given, Original, Rung, epochs_of_stages
from tests.tuner import pretend

EPOCH, STEP, REST = 10.0, 40.0, 1.0
"""Seconds of an epoch, of another step, and of each other stage."""


class Pretended:
    """A clock, and what lies in the store."""

    def __init__(self) -> None:
        self.now, self.made, self.runs, self.interrupt = 0.0, dict[str, float](), list[str](), ""

    def run_rung(self, given: Given, original: Original, share: float, recipe: Recipe) -> tuple[Rung, Path, Path]:
        plan, item = given.plan(recipe)
        epochs, stages, new = epochs_of_stages(plan), list[tuple[str, int, float]](), 0.0
        steps = {stage.key for stage in plan.compressed}
        for stage in in_order([item.validation[BUNDLE], item.variants[BUNDLE].checkpoint]):
            took = EPOCH * epochs[stage.key] if stage.key in epochs else STEP if stage.key in steps else REST
            if stage.key not in self.made:
                if self.interrupt and stage.name == self.interrupt:
                    self.now += took / 2
                    raise KeyboardInterrupt
                self.made[stage.key] = took
                self.runs.append(stage.name)
                self.now += took
                new += took
            stages.append((stage.name, epochs.get(stage.key, 0), took))
        rung = pretend.pretended(share, recipe)
        return replace(rung, new_seconds=new, seconds=sum(one for *_, one in stages), stages=stages), Path(), Path()


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    for module, names in ((run, ("original_of", "_rows_of")), (attempt, ("run_rung", "foresee", "measure"))):
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))
    monkeypatch.setattr(Given, "timed", Given.timed)
    pretend.pretend(tmp_path)
    made = Pretended()
    monkeypatch.setattr(attempt, "run_rung", made.run_rung)
    monkeypatch.setattr(duration, "is_there", lambda build, stage: stage.key in made.made)
    monkeypatch.setattr(attempt, "is_there", lambda build, stage: stage.key in made.made)
    clock = SimpleNamespace(monotonic=lambda: made.now, sleep=lambda seconds: None)
    monkeypatch.setattr(attempt, "time", clock)
    monkeypatch.setattr(until, "time", clock)
    return made


def searched(folder: Path, minutes: float | None, trials: int | None = None) -> run.Searched:
    return run.search(replace(pretend.asked(folder, 1), minutes=minutes, trials=trials, sampler="random"), Show())


def put_off(found: run.Searched) -> list[Any]:
    return [trial for trial in found.trials if NEEDS in trial.user_attrs]


def test_what_time_closed_is_taken_up_again_in_as_much_time_as_is_said(
    tmp_path: Path, pretended: Pretended, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was left alone for ever, whatever time was given later, and other recipes were drawn."""
    first = searched(tmp_path, 4)
    said = " ".join(capsys.readouterr().err.split())
    assert pretended.now <= 240, "nothing is begun that is foreseen not to end"
    assert first.trials[0].state.name == "COMPLETE" and not first.recipe(first.trials[0]).compress, (
        "the number format alone comes first"
    )
    waiting, made = put_off(first), len(pretended.runs)
    assert (
        waiting
        and "put off: no time was left" in said
        and "it searches for 4 minutes; then the points are made in full" in said
    )
    shortest, _ = map(int, re.findall(r"go on with --minutes (\d+) for the shortest, (\d+) for all", said)[0])
    assert sum(seconds_of(first.study).values()) == pytest.approx(first.spent)

    again = searched(tmp_path, shortest)
    said = " ".join(capsys.readouterr().err.split())
    numbers = {trial.user_attrs["key"] for trial in waiting} & {trial.user_attrs["key"] for trial in again.complete}
    assert numbers and pretended.now <= 60 * shortest and len(again.trials) >= len(first.trials)
    assert len(pretended.runs) == len(set(pretended.made)) > made, "no stage was made twice"
    assert f"{shortest} minutes" in said

    rest = searched(tmp_path, None, len(again.trials))
    left = {trial.user_attrs["key"] for trial in put_off(rest)}
    assert not left & {trial.user_attrs["key"] for trial in waiting}, "without a limit of time nothing waits for it"
    assert seconds_of(rest.study).keys() >= {trial.number for trial in rest.trials}
    assert sum(seconds_of(rest.study).values()) == pytest.approx(pretended.now), "every try counts"


def test_epochs_that_were_trained_are_gone_on_with_in_less_time_too(
    tmp_path: Path, pretended: Pretended, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trial that was cut off in its last epoch was begun again by a first look, which shares nothing with it, and no word was said."""
    pretended.interrupt = "distill"
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, None, 5)
    pretended.interrupt = ""
    monkeypatch.setattr(duration, "epochs_kept", lambda given, stage: (5, EPOCH))
    monkeypatch.setattr(attempt, "epochs_kept", lambda given, stage: (5, EPOCH))
    cut_off = pretended.now
    short = searched(tmp_path, (cut_off + 8) / 60)
    said = " ".join(capsys.readouterr().err.split())
    assert "goes on: 5 of 6 epochs of distill were trained before" in said and "a first look" not in said
    assert "put off: no time was left to begin it: 8 s of about 1 min" in said
    assert seconds_of(short.study)[put_off(short)[0].number] > 0, "what was cut off counts"
    done = searched(tmp_path, 60)
    assert put_off(short)[0].user_attrs["key"] in {trial.user_attrs["key"] for trial in done.complete}


def test_a_search_ends_where_nothing_that_is_drawn_fits(
    tmp_path: Path, pretended: Pretended, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An hour's trial was begun in the last minute."""
    monkeypatch.setattr(
        attempt, "_put_off", lambda search, ahead, known, left, rungs: attempt.End({NEEDS: 900.0, "stopped": "no time"})
    )
    found = searched(tmp_path, 10)
    said = " ".join(capsys.readouterr().err.split())
    assert not pretended.runs and len(put_off(found)) == len(found.trials) > run.MOST_UNBEGUN
    assert f"none of the last {run.MOST_UNBEGUN} recipes that were drawn fits into the 10 min 0 s that are left" in said
    assert "trials wait for more time: go on with --minutes 18 for the shortest" in said
    bound, first = nearest(found)[:2]
    assert "what binds is time" in bound and "trial 1 may keep it and needs about 15 min 0 s: --minutes 18; no step" in first
