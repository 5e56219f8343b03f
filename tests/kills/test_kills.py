"""A few kills of the quickest run; fifty of each are in results.json, as `python -m tests.kills` left them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.kills.__main__ import RESULTS, Run, runs, trial

FEWER = {"tune": 20}
"""Kills of what takes long."""


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_artifacts_are_the_same_after_kills(tmp_path: Path) -> None:
    found = trial("artifacts", runs()["artifacts"], 4, 1, tmp_path)
    assert (found["kills"], found["other_bytes"], found["left_something"]) == (4, 0, 0)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_other_bytes_and_what_is_left_are_found(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        time.sleep(0.05)
        (folder / "result").write_bytes(os.urandom(8))

    run = Run(lambda folder: None, work, lambda folder: [folder / "result"], lambda folder: [folder / "result"])
    found = trial("made-up", run, 1, 1, tmp_path)
    assert found["kills"] == 1 and found["other_bytes"] == found["left_something"] == found["finished"] >= 1


def test_the_record_is_of_fifty_kills_each_and_of_nothing_lost() -> None:
    found = json.loads(RESULTS.read_text())
    assert set(found) == set(runs())
    for name, result in found.items():
        assert result["kills"] >= FEWER.get(name, 50) and len(result["moments_s"]) == result["kills"]
        assert result["other_bytes"] == result["left_something"] == 0
