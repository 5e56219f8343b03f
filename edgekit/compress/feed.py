"""Training rows as batches for methods that look at a model without training it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.compress.method import Work

if TYPE_CHECKING:
    import torch

__all__ = ["calibration_batches", "labelled_batches"]


def labelled_batches(
    work: Work, count: int, batch: int
) -> tuple[int, list[tuple[dict[str, torch.Tensor], torch.Tensor | None]]]:
    """(rows drawn, batches of (inputs of the model, int64 (b, s) each; labels as the task's hard loss takes them)).

    `count` training rows, or all where there are fewer, drawn by the recipe's seed; passes of alike length share a batch.
    """
    import numpy as np

    from edgekit.tasks import find_task
    from edgekit.tasks.encode import batches, encode, read_split

    task = find_task(work.task)
    read = read_split(work.rows, "train")
    picked = np.random.default_rng(work.seed).choice(len(read), size=min(count, len(read)), replace=False)
    data = encode(work.source, [read[index] for index in picked], task, work.max_length)
    order = batches(data.lengths, batch, work.seed)
    return len(picked), [(data.feed(passes), data.wanted(passes) if task.supervised else None) for passes in order]


def calibration_batches(work: Work, count: int, batch: int) -> list[dict[str, torch.Tensor]]:
    """Inputs of the model alone, as `labelled_batches` draws them."""
    return [feed for feed, _ in labelled_batches(work, count, batch)[1]]
