"""Modules whose weight is computed in every forward pass, by a parametrization of torch, made plain again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from edgekit.errors import BadInput

__all__ = ["fold"]


def fold(modules: Sequence[torch.nn.Linear | Conv1D]) -> None:
    """Leave the weights in use in plain modules.

    Raises:
        BadInput: one of them is not finite.
    """
    for module in modules:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
        if not torch.isfinite(module.weight).all():
            raise BadInput("a weight has grown to NaN or Inf", where="compress", fix="train with a lower learning rate")
