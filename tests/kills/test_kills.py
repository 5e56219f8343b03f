"""A few kills of the quickest run; fifty of each are in results.json, as `python -m tests.kills` left them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kills.__main__ import RESULTS, Run, runs, trial


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_artifacts_are_the_same_after_kills(tmp_path: Path) -> None:
    found = trial("artifacts", runs()["artifacts"], 4, 1, tmp_path)
    assert (found["kills"], found["other_bytes"], found["left_something"]) == (4, 0, 0)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_other_bytes_and_what_is_left_are_found(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def work(folder: Path) -> None:
        tries = len(list(folder.glob("try-*")))
        (folder / f"try-{tries}").touch()
        while tries < 1 and (folder.parent / "killing").exists():
            pass
        (folder / "result").write_text(str(tries))

    def prepare(folder: Path) -> None:
        if folder.name.endswith("-1"):
            (folder.parent / "killing").touch()

    run = Run(prepare, work, lambda folder: [folder / "result"], lambda folder: list(folder.glob("try-*")))
    found = trial("made-up", run, 1, 1, tmp_path)
    assert (found["kills"], found["other_bytes"], found["left_something"]) == (1, 1, 1)


def test_the_record_is_of_fifty_kills_each_and_of_nothing_lost() -> None:
    found = json.loads(RESULTS.read_text())
    assert set(found) <= set(runs())
    for result in found.values():
        assert result["kills"] >= 50 and len(result["moments_s"]) == result["kills"]
        assert result["other_bytes"] == result["left_something"] == 0
