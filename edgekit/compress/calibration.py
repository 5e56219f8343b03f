"""Calibration batches: training rows for methods that run a model without training it."""

from __future__ import annotations

import numpy as np
import torch

from edgekit.compress.method import Work
from edgekit.models.device import Feed
from edgekit.tasks import find_task
from edgekit.tasks.encode import batches, encode, read_split

__all__ = ["LabelledBatch", "calibration_batches", "labelled_batches"]

LabelledBatch = tuple[Feed, torch.Tensor | None]
"""(inputs of the model, labels as the task's hard-label loss takes them; None for none)."""


def labelled_batches(work: Work, count: int, batch: int) -> tuple[int, list[LabelledBatch]]:
    """(rows drawn, batches of (inputs of the model, int64 (b, s) each; labels as the task's hard loss takes them)).

    `count` training rows, or all where there are fewer, drawn by the recipe's seed; windows of similar length share a batch.
    """
    task = find_task(work.task)
    rows = read_split(work.rows, "train")
    picked = np.random.default_rng(work.seed).choice(len(rows), size=min(count, len(rows)), replace=False)
    data = encode(work.source, [rows[index] for index in picked], task, work.max_length)
    order = batches(data.lengths, batch, work.seed)
    return len(picked), [(data.feed(windows), data.wanted(windows) if task.supervised else None) for windows in order]


def calibration_batches(work: Work, count: int, batch: int) -> list[Feed]:
    """Inputs of the model without labels, drawn as `labelled_batches` does."""
    return [feed for feed, _ in labelled_batches(work, count, batch)[1]]
