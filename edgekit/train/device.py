"""Where a model's passes over many rows run: on the GPU where torch sees one with room for it, else on the processor.

Surgery on weights stays on the processor, in float64: a model is on the GPU for its passes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["at", "fastest", "placed"]

ROOM = 3
"""A model goes to a GPU with this many times its weights free: activations and copies of it want a place too."""


def fastest(model: Any) -> torch.device:
    """The first GPU that torch sees, where `model` has room on it; else the processor."""
    if torch.cuda.is_available():
        size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        if ROOM * size < torch.cuda.mem_get_info()[0]:
            return torch.device("cuda")
    return torch.device("cpu")


@contextmanager
def placed(model: Any) -> Iterator[torch.device]:
    """`model` on the fastest device while the context lasts, then where it was before."""
    before, place = next(model.parameters()).device, fastest(model)
    model.to(place)
    try:
        yield place
    finally:
        model.to(before)
        torch.cuda.empty_cache()  # what torch keeps goes back: minutes on the processor follow


def at(feed: dict[str, torch.Tensor], place: torch.device) -> dict[str, torch.Tensor]:
    """Inputs of the model, int64 (b, s) each, on `place`."""
    return {name: tensor.to(place) for name, tensor in feed.items()}
