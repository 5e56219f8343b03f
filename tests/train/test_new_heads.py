"""A new head of each kind on an encoder: trained, saved, and read again as what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.config.recipe import Finetune, NewModel
from edgekit.data.sources import SPLITS, Place, Sources
from edgekit.data.splits import prepare
from edgekit.models.heads import head_of
from edgekit.tasks import encoder_task
from edgekit.train.supervised import finetune, train_from_scratch
from tests.tiny_heads import MAX_LENGTH, made_model, sentence, write_rows


def labelled(task: str, text: str) -> dict[str, Any]:
    """A row whose answer can be read off its text."""
    if task == "text-ranking":
        passages = sorted({*text.split(), "the", "movie"}, key=lambda word: ("o" in word, word))
        return {"query": text[:5], "passages": passages, "relevance": [int("o" in one) for one in passages]}
    if task == "text-regression":
        return {
            "text": text,
            "label": 10.0 * sum(word in text.split() for word in ("good", "bad", "dog", "ada", "we", "not")) - 5,
        }
    return {"text": text, "label": [name for name in ("good", "bad", "dog") if name in text]}


def rows_of(task: str, folder: Path) -> Path:
    draw = np.random.default_rng(1)
    count = 160 if task == "text-ranking" else 300  # one of its rows is several pairs
    write_rows(folder, [labelled(task, sentence(draw, 3)) for _ in range(count)], count=30)
    kind, rows = encoder_task(task), folder / "rows"
    rows.mkdir()
    prepare(Sources(*(Place(str(folder / f"{split}.jsonl")) for split in SPLITS)), kind.columns, rows, (), kind.kinds)
    return rows


@pytest.mark.parametrize(
    ("task", "kind", "outputs"),
    [("multi-label-classification", "labels", 3), ("text-regression", "number", 1), ("text-ranking", "labels", 1)],
)
def test_a_new_head_learns_and_says_what_it_is(tmp_path: Path, task: str, kind: str, outputs: int) -> None:
    source, rows = made_model(tmp_path / "source", ["no", "yes"]), rows_of(task, tmp_path)
    given: dict[str, Any] = {"task": task, "max_length": MAX_LENGTH, "seed": 7, "progress": lambda *_: None}
    tuned, new, scratch = tmp_path / "tuned", tmp_path / "new", tmp_path / "scratch"
    scratch.mkdir()
    finetune(source, rows, tuned, tmp_path / "other", settings=Finetune(epochs=1, batch=16), **given)
    epochs = 12 if kind == "labels" and outputs > 1 else 4
    model = NewModel(layers=1, width=32, heads=2, neurons=64, vocabulary=200, epochs=epochs, learning_rate=5e-3, batch=8)
    history = train_from_scratch(rows, new, scratch, new=model, **given)
    quality = history["history"]["quality"]  # type: ignore[index, call-overload]
    assert history["validation"] >= quality[0] and history["validation"] > 0.5, "it learns"
    for folder in (tuned, new):
        head = head_of(json.loads((folder / "config.json").read_text()), folder)
        assert (head.kind, head.outputs) == (kind, outputs) and not head.faults(encoder_task(task).head)
