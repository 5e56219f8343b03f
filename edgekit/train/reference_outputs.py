"""The reference that rows without an answer are scored against: what the uncompressed model answers to each, as columns of the row.

Every later stage then scores such rows like any other. Training rows get none: students learn from a teacher's outputs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.data.splits import RECORD
from edgekit.models.checkpoint import load
from edgekit.models.device import on_fastest_device
from edgekit.progress import Progress
from edgekit.runtime.jsontypes import JsonObject
from edgekit.tasks import encoder_task
from edgekit.tasks.encode import Encoded, encode, labels_of, read_split
from edgekit.tasks.task import EncoderTask
from edgekit.train.evaluate import outputs_of

__all__ = ["SCORED", "add_reference_outputs"]

SCORED = ("validation", "test")


def add_reference_outputs(
    original: Path, rows: Path, out: Path, *, task: str, max_length: int, progress: Progress
) -> JsonObject:
    """Copy rows artifact `rows` to `out`, with what checkpoint `original` answers to each validation and test row as columns of it.

    The record is copied too: its hashes are those of the rows as they were read. Returns the number of rows of each split.
    """
    kind = encoder_task(task)
    assert kind.alone is not None, "the plan asks for this stage where there is a way"
    model, names = load(original, kind.auto, head=kind.head), labels_of(original) if kind.named else []
    for path in sorted(rows.glob("*.jsonl")):
        shutil.copyfile(path, out / path.name)
    if kind.alone.unanswered:
        _write(out, "train", [{**row, **kind.alone.unanswered} for row in read_split(rows, "train")])
    answered = {}
    for number, split in enumerate(SCORED):
        progress(number, len(SCORED), f"the original's answers to the {split} rows")
        read = [{**row, **kind.alone.unanswered} for row in read_split(rows, split)]
        encoded = encode(original, read, kind, max_length)
        with on_fastest_device(model):
            outputs = outputs_of(model, kind, encoded)
        _write(out, split, _with_answers(kind, read, encoded, outputs, names))
        answered[split] = len(read)
    shutil.copyfile(rows / RECORD, out / RECORD)
    return {"answered": answered}


def _with_answers(
    task: EncoderTask, rows: Sequence[JsonObject], encoded: Encoded, outputs: Sequence[np.ndarray], names: list[str]
) -> list[JsonObject]:
    """`rows` with the columns that `outputs`, one for each window, answer."""
    assert task.alone is not None, "asked before"
    answered: list[JsonObject] = []
    start = 0
    for row, inputs in zip(rows, encoded.inputs, strict=True):
        count = sum(map(len, inputs))
        answered.append({**row, **task.alone.answer([*outputs[start : start + count]], inputs, row, names)})
        start += count
    return answered


def _write(folder: Path, split: str, rows: Sequence[JsonObject]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
