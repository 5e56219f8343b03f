"""The page on what rounding costs is the one that its results make, and says "met" only where an interval does."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.language_quality.page import default_of, write_page
from edgekit.config.quantize import WeightOnly
from edgekit.plan.decoder import DEFAULT

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "language_quality"


def test_the_page_is_made_from_the_results(tmp_path: Path) -> None:
    write_page(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text() == (FOLDER / "README.md").read_text()


def test_verdicts_follow_from_the_intervals() -> None:
    document = json.loads((FOLDER / "results.json").read_text())
    judged = [result for result in document["results"] if result["limit"] is not None]
    assert len(judged) == 15 and {result["limit"] for result in judged} == set(document["limits"].values())
    for result in judged:
        low, high = result["change"]["ci95"]
        assert low <= result["change"]["value"] <= high
        told = "met" if high <= result["limit"] else "not met" if low > result["limit"] else "not told apart"
        assert result["verdict"] == told


def test_the_default_is_the_smallest_that_stays_within_half_a_percent_with_the_bits_of_a_row_alone() -> None:
    chosen = default_of(json.loads((FOLDER / "trained.json").read_text()))
    assert WeightOnly(**chosen["settings"]) == DEFAULT
