"""Zeros that pruning set stay zero while a model recovers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgekit.models.stack import LINEARS

__all__ = ["kept_zeros"]

LEAST = 0.05
"""Share of zeros from which a weight counts as pruned; a weight that was only trained has none."""


def kept_zeros(model: Any) -> Callable[[], None]:
    """A function that sets to zero again what is zero now in the pruned linear modules of `model`, in place."""
    pruned = []
    for module in model.base_model.modules():
        if isinstance(module, LINEARS) and module.weight.numel():
            kept = module.weight.detach() != 0
            if 1 - float(kept.float().mean()) >= LEAST:
                pruned.append((module.weight, kept))

    def again() -> None:
        with torch.no_grad():
            for number, (weight, kept) in enumerate(pruned):
                if kept.device != weight.device:  # training moved the model after these were taken
                    pruned[number] = weight, kept = weight, kept.to(weight.device)
                weight.mul_(kept)

    return again
