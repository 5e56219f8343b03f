"""Quality of the very file that is timed: every test row run by itself, as it is timed, through the same session."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.session import open_session
from edgekit.tasks import find_task
from edgekit.tasks.encode import encode, labels_of

__all__ = ["score"]


def score(
    model: Path,
    checkpoint: Path,
    rows: Path,
    *,
    task: str,
    max_length: int,
    provider: str = "CPUExecutionProvider",
    progress: Callable[[float, float, str], None] = lambda done, total, text: None,
) -> np.ndarray:
    """Score of each row of `rows` (JSON lines), float64 (rows,), whose mean is the task's metric.

    Batch 1: dynamic INT8 finds one activation range a run, so a batch would answer differently from what is timed.

    Raises:
        BadInput: a label of a row is unknown to the model, or the file cannot be loaded.
    """
    labels = labels_of(checkpoint)
    read: list[dict[str, Any]] = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    encoded = encode(checkpoint, read, labels, max_length)
    session = open_session(model, provider=provider, threads=2)
    outputs = []
    for number, row in enumerate(encoded.ids):
        ids = row[None]
        outputs.append(session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0])
        if number % 100 == 0:
            progress(number, len(read), f"score: row {number:,} of {len(read):,}")
    return find_task(task).correct(np.concatenate(outputs), labels, read)
