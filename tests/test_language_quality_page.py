"""The page on what rounding costs is the one that its results make, and says "met" only where an interval does."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "language-quality"
if not FOLDER.is_dir():
    pytest.skip("the benchmarks are not part of this installation", allow_module_level=True)


def page() -> Any:
    spec = importlib.util.spec_from_file_location("language_quality_page", FOLDER / "page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_from_the_results(tmp_path: Path) -> None:
    page().write_page(json.loads((FOLDER / "results.json").read_text()), tmp_path / "README.md")
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
