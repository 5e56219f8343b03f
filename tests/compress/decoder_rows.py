"""Rows of made-up words and a `Work` for tests that compress the tiny decoders of `tests.tiny_decoders`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.compress.method import Work
from tests.tiny_decoders import checkpoint

FAMILIES = ("llama", "qwen3", "gpt2", "gpt_neox")
LENGTH = 24


def write_rows(folder: Path) -> Path:
    """An artifact of 48 training and 8 validation texts of 12 to 20 words w3 … w299."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(3)
    for split, count in (("train", 48), ("validation", 8), ("test", 8)):
        texts = [" ".join(f"w{word}" for word in draw.integers(3, 300, draw.integers(12, 21))) for _ in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "data.json").write_text(json.dumps({"columns": ["text"]}))
    return folder


def work_on(family: str, folder: Path, **changes: Any) -> Work:
    """A step's inputs: the tiny decoder `family` as source, original and dense; `changes`: of its configuration."""
    source = checkpoint(family, folder / "model", **changes)
    for name in ("out", "scratch"):
        (folder / name).mkdir()
    return Work(
        source=source, original=source, dense=source, rows=write_rows(folder / "rows"), out=folder / "out", scratch=folder / "scratch",
        task="text-generation", max_length=LENGTH, seed=7, progress=lambda done, total, text: None,
    )  # fmt: skip
