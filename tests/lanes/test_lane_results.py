"""The lanes' page is written from their committed documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lanes.results import FOLDER, page, record, summary

CELL = {
    "case": "text-classification",
    "exit_code": 0,
    "golden": 32,
    "difference": 0.02,
    "largest_difference": 0.1,
    "tolerance": 0.1,
}
FOUND: dict[str, Any] = {
    "lane": "arm64",
    "versions": {"onnxruntime": "1.32.0"},
    "packages": [{"package": "qemu-user", "version": "10.0", "architecture": "amd64", "sha256": "0"}],
    "seconds": {"fetch": 12.3, "all": 100.0},
    "cpus": [
        {
            "cpu": "cortex-a76",
            "instructions": {"udot": 7},
            "cells": [
                {**CELL, "target": "arm64-neon"},
                {**CELL, "target": "arm64-dotprod", "difference": 0.03},
                {"case": "text-classification", "target": "arm64-i8mm", "exit_code": 3, "text": "this chip lacks i8mm"},
            ],
        }
    ],
}


def test_a_line_sums_up_a_task_on_a_cpu() -> None:
    assert summary(FOUND)[2:] == ["| cortex-a76 | text-classification | arm64-neon, arm64-dotprod | 64 of 64 | 30.0% | 1 |"]


def test_documents_of_other_lanes_are_kept(tmp_path: Path) -> None:
    record(FOUND, tmp_path)
    record({**FOUND, "lane": "avx2", "seconds": {"all": 50.0}}, tmp_path)
    record({**FOUND, "seconds": {"all": 70.0}}, tmp_path)
    every = json.loads((tmp_path / "results.json").read_text())
    assert list(every) == ["arm64", "avx2"] and every["arm64"]["seconds"] == {"all": 70.0}
    text = (tmp_path / "README.md").read_text()
    assert text == page(every) and "64 golden inputs passed" in text and "udot 7" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "results.json"]


def test_the_page_is_written_from_the_committed_results() -> None:
    path = FOLDER / "results.json"
    if not path.is_file():
        pytest.skip("no lane has been recorded yet: make test-arm64 RECORD=1")
    text = path.read_text(encoding="utf-8")
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == page(json.loads(text))
    assert "/tmp/" not in text and "/home/" not in text and "/work/" not in text
    assert "http" not in text, "no mirror's name"
