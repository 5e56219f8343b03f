"""The reference that rows of a single text are scored against: the uncompressed model's output for each row, as a column of it.

Every later stage then scores such rows like any other. Training rows need none: students learn from a teacher's outputs.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from edgekit.data.splits import RECORD
from edgekit.models.checkpoint import load
from edgekit.models.device import on_fastest_device
from edgekit.progress import Progress
from edgekit.runtime.jsontypes import JsonObject
from edgekit.tasks import find_task
from edgekit.tasks.encode import encode, read_split
from edgekit.train.evaluate import outputs_of

__all__ = ["COLUMN", "SCORED", "add_reference_outputs"]

COLUMN = "embedding"
SCORED = ("validation", "test")
DIGITS = 7
"""Decimals of each number of a unit vector: float32 has no more."""


def add_reference_outputs(
    original: Path, rows: Path, out: Path, *, task: str, max_length: int, progress: Progress
) -> JsonObject:
    """Copy rows artifact `rows` to `out`, with checkpoint `original`'s output for each validation and test row as its `embedding`.

    The record is copied too: its hashes are those of the rows as they were read. Returns the number of rows of each split.
    """
    kind = find_task(task)
    model = load(original, kind.auto)
    for path in sorted(rows.glob("*.jsonl")):
        shutil.copyfile(path, out / path.name)
    answered = {}
    for number, split in enumerate(SCORED):
        progress(number, len(SCORED), f"the original's answers to the {split} rows")
        read = read_split(rows, split)
        with on_fastest_device(model):
            outputs = outputs_of(model, kind, encode(original, read, kind, max_length))
        lines = [
            json.dumps(
                {**row, COLUMN: [round(float(value), DIGITS) for value in output[0]]}, ensure_ascii=False, sort_keys=True
            )
            for row, output in zip(read, outputs, strict=True)
        ]
        (out / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        answered[split] = len(lines)
    shutil.copyfile(rows / RECORD, out / RECORD)
    return {"answered": answered}
