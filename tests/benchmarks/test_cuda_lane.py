"""The GPU lane where there is no GPU: a sentence and exit code 3, no traceback, and a page that says what was not run."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest

from benchmarks.commands import command_today
from benchmarks.cuda import lane
from benchmarks.cuda.page import page
from edgekit.runtime.providers.names import CUDA

ROOT = Path(__file__).resolve().parents[2]
RESULTS = json.loads((ROOT / "benchmarks" / "cuda" / "results.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has the provider")
@pytest.mark.parametrize("what", ["all", "measure"])
def test_a_missing_provider_is_said_in_a_sentence(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["lane", what])
    assert lane.main() == 3
    said = capsys.readouterr().err
    assert f"{CUDA} is not in this onnxruntime" in said and "--dry-run" in said


def test_the_page_is_that_of_the_committed_results() -> None:
    text = page(RESULTS)
    assert text == (ROOT / "benchmarks" / "cuda" / "README.md").read_text(encoding="utf-8")
    assert command_today(RESULTS["command"]) in text


def test_the_page_says_what_was_not_run() -> None:
    """By the results alone, so that it holds before and after the day on which a lane is run."""
    without = {name: part for name, part in RESULTS.items() if name not in ("distill", "pipeline")}
    without["checks"] = {name: check for name, check in RESULTS["checks"].items() if not name.endswith("-tensorrt")}
    for sentence in ("on two GPUs: not run", "Target `tensorrt`: not run", "has not been on a GPU"):
        assert sentence in page(without)
    run = {"processes": 1, "batch": 32, "rows_per_s": 100.0, "test": 0.8}
    distill = {"recipe": "clinc150", "metric": "accuracy", "rows": 10, "difference": {"difference": 0.0, "ci95": [-0.01, 0.01]}}
    told = {
        **without,
        "distill": {**distill, "runs": [run, {**run, "processes": 2}]},
        "pipeline": RESULTS.get("pipeline") or {},
    }
    assert "on two GPUs: not run" not in page(told) and "| 2 | 32 | 100 | 1.00x | 0.8000 |" in page(told)
