"""Recipes for a dry run: an encoder and a language model that are trained in seconds and are good for nothing."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["recipes"]

ENCODER = """schema = 1
task = "text-classification"
[model]
max_length = 128
[model.new]
layers = 2
width = 32
heads = 2
neurons = 64
vocabulary = 400
epochs = 1
[data]
builtin = "intents"
rows = 400
[calibration]
rows = 8
[[compress]]
method = "distill"
layers = 1
epochs = 2
batch = 32
"""
DECODER = """schema = 1
task = "text-generation"
[model]
max_length = 64
[model.new]
layers = 2
width = 32
heads = 2
neurons = 64
vocabulary = 400
epochs = 1
batch = 8
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
[calibration]
rows = 8
[quantize]
format = "int4-weights"
"""


def recipes(folder: Path) -> tuple[Path, Path]:
    """(the encoder's recipe, the language model's), written to `folder` with the rows that they read."""
    from edgekit.data.reference import generate

    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in generate(7, None).items():
        lines = [json.dumps({"text": str(row["text"])[:200]}) for row in rows[: 60 if split == "train" else 10]]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    paths = folder / "tiny.toml", folder / "tiny-lm.toml"
    for path, text in zip(paths, (ENCODER, DECODER), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths
