"""The pages on decoders are those of the committed results."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def loaded(name: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script `file` as a module of its own name; scripts of other folders are called `page` and `run` too."""
    monkeypatch.syspath_prepend(str(file.parent))
    place = importlib.util.spec_from_file_location(name, file)
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def test_beside_its_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = BENCHMARKS / "decoders"
    monkeypatch.setattr(sys, "path", [*sys.path])
    page = loaded("decoders_run", folder / "run.py", monkeypatch).page
    document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    text = page(document)
    assert text == (folder / "README.md").read_text(encoding="utf-8")
    assert "## Where the time of a token goes" in text and "MatMulNBits, vocabulary" in text


def test_distilled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = BENCHMARKS / "language-distillation"
    for name in ("results.json", "verdict.md"):
        shutil.copyfile(folder / name, tmp_path / name)
    loaded("language_distillation_page", folder / "page.py", monkeypatch).write_page(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == (folder / "README.md").read_text(encoding="utf-8")


def test_what_the_verdict_says_is_in_the_numbers() -> None:
    document = json.loads((BENCHMARKS / "language-distillation" / "results.json").read_text(encoding="utf-8"))
    found = {arm["name"]: arm["perplexity_fp32"] for arm in document["arms"]}
    half, labels = found["2 blocks, rows: half teacher, half labels"], found["2 blocks, labels of the rows alone"]
    original = found["the original, 4 blocks"]
    assert abs(half / original - 1) < 0.02 < labels / original - 1
    assert found["control: 2 blocks from nothing, as many steps"] > 2 * half
    assert min(found["2 blocks, the teacher's texts"], found["2 blocks, its own texts"]) > half
    assert (
        found["half the neurons, then rows"] < found["half the neurons, then rows, LoRA of rank 8"] < found["half the neurons"]
    )
