"""The page of what loading costs says what its results say."""

from __future__ import annotations

import json

from benchmarks.load.measure import compared
from benchmarks.load.page import HERE, page

RESULTS = json.loads((HERE / "results.json").read_text(encoding="utf-8"))


def test_the_page_is_made_of_its_results() -> None:
    assert (HERE / "README.md").read_text(encoding="utf-8") == page(RESULTS)
    assert compared(RESULTS["processes"]) == {key: RESULTS[key] for key in ("medians", "more")}


def test_an_answer_is_not_slower_than_before() -> None:
    assert RESULTS["more"]["answer_ms"]["ci95"][0] <= 0
