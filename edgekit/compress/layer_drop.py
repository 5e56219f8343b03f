"""Whole layers removed, one at a time: always the one without which the outputs move least."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from edgekit.compress.method import Progress
from edgekit.models.shapes import keep_layers, layer_count

__all__ = ["drop_layers"]


def drop_layers(model: Any, down_to: int, feed: Sequence[tuple[torch.Tensor, torch.Tensor]], progress: Progress) -> list[int]:
    """Remove layers of `model` in place until `down_to` are left; returns the original numbers of those that stay.

    The measure is the mean KL divergence of the outputs from the whole model's on the batches `feed` (ids, mask).
    """
    kept = list(range(layer_count(model)))
    whole = [_outputs(model, *batch) for batch in feed]
    while len(kept) > down_to:
        moved = []
        for position in range(len(kept)):
            trial = copy.deepcopy(model)
            keep_layers(trial, [index for index in range(len(kept)) if index != position])
            moved.append(sum(_divergence(wanted, _outputs(trial, *batch)) for wanted, batch in zip(whole, feed, strict=True)))
            progress(position, len(kept), f"prune: try without layer {kept[position]}, {len(kept)} to {down_to} layers")
        least = moved.index(min(moved))
        keep_layers(model, [index for index in range(len(kept)) if index != least])
        del kept[least]
    return kept


def _outputs(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(model(input_ids=ids, attention_mask=mask).logits, dim=-1)


def _divergence(wanted: torch.Tensor, found: torch.Tensor) -> float:
    return float(torch.nn.functional.kl_div(found, wanted, log_target=True, reduction="sum"))
