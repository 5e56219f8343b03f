"""The page of what threads are worth says what its results say."""

from __future__ import annotations

import json

from benchmarks.threads.page import HERE, page

RESULTS = json.loads((HERE / "results.json").read_text(encoding="utf-8"))


def test_the_page_is_made_of_its_results() -> None:
    assert (HERE / "README.md").read_text(encoding="utf-8") == page(RESULTS)


def test_what_targets_and_readme_say_was_measured() -> None:
    """More threads pay for a token only where they spin within a run, and auto found that out each time."""
    for subject in RESULTS["subjects"]:
        variants = subject["variants"]
        assert variants["2, spinning in a run"]["p50_ms"] < variants["2, asleep"]["p50_ms"], subject["name"]
        if subject["name"].endswith("a token"):
            assert variants["2, spinning in a run"]["faster"]["ci95"][0] > 1, subject["name"]
            assert {auto["threads"] for auto in subject["auto"]} == {2}


def test_a_talk_that_goes_on_answers_the_same() -> None:
    turns = RESULTS["talk"]["turns"]
    assert all(turn["same"] for turn in turns)
    assert turns[-1]["kept_ms"] < turns[-1]["anew_ms"] / 2
