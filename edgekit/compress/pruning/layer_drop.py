"""Whole layers removed, one at a time: always the one without which the outputs move least."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from edgekit.models.device import feed_to, on_fastest_device
from edgekit.models.shapes import keep_layers, layer_count
from edgekit.progress import Progress
from edgekit.tasks import Task

__all__ = ["drop_layers"]

Feed = dict[str, torch.Tensor]
"""Inputs of the model, int64 (b, s) each."""


def drop_layers(model: Any, task: Task, down_to: int, feeds: Sequence[Feed], progress: Progress) -> list[int]:
    """Remove layers of `model` in place until `down_to` are left; returns the original numbers of those that stay.

    The measure is the task's loss against the whole model's outputs on the batches `feeds`.
    """
    kept = list(range(layer_count(model)))
    with on_fastest_device(model) as place:
        there = [feed_to(feed, place) for feed in feeds]
        whole = [_output(model, task, feed) for feed in there]
        while len(kept) > down_to:
            moved = []
            for position in range(len(kept)):
                trial = copy.deepcopy(model)
                keep_layers(trial, [index for index in range(len(kept)) if index != position])
                moved.append(sum(_moved(trial, task, wanted, feed) for wanted, feed in zip(whole, there, strict=True)))
                progress(position, len(kept), f"prune: try without layer {kept[position]}, {len(kept)} to {down_to} layers")
            least = moved.index(min(moved))
            keep_layers(model, [index for index in range(len(kept)) if index != least])
            del kept[least]
    return kept


def _output(model: Any, task: Task, feed: Feed) -> torch.Tensor:
    with torch.no_grad():
        return task.tensor(model, model(**feed), feed["attention_mask"])


def _moved(model: Any, task: Task, wanted: torch.Tensor, feed: Feed) -> float:
    mask = feed["attention_mask"]
    none = torch.full(mask.shape[: 2 if task.per_token else 1], -1, device=mask.device)
    return float(task.soft(_output(model, task, feed), wanted, none, mask, 1.0)) * len(mask)
