"""The GPU lane where there is no GPU: a sentence and exit code 3, no traceback, and a page that says what was not run."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from edgekit.runtime.providers.names import CUDA

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has the provider")
@pytest.mark.parametrize("what", ["all", "measure"])
def test_a_missing_provider_is_said_in_a_sentence(what: str) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "cuda" / "run.py"), what]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert f"{CUDA} is not in this onnxruntime" in done.stderr and "--dry-run" in done.stderr


def test_the_page_is_that_of_the_committed_results() -> None:
    place = importlib.util.spec_from_file_location("cuda_page", ROOT / "benchmarks" / "cuda" / "page.py")
    assert place is not None and place.loader is not None
    page = importlib.util.module_from_spec(place)
    place.loader.exec_module(page)
    document = json.loads((ROOT / "benchmarks" / "cuda" / "results.json").read_text(encoding="utf-8"))
    text = page.page(document)
    assert text == (ROOT / "benchmarks" / "cuda" / "README.md").read_text(encoding="utf-8")
    assert "two GPUs: not run" in text and "`tensorrt`: not run" in text
