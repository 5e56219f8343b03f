"""Which device torch runs a model's forward passes on: the GPU where torch sees one with enough free memory, else the CPU.

Surgery on weights stays on the CPU, in float64: a model is on the GPU only while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["Feed", "fastest_device", "feed_to", "on_fastest_device"]

Feed = dict[str, torch.Tensor]
"""Inputs of a model by name, int64 (b, s) each."""

ROOM = 3
"""A model goes to a GPU whose free memory is more than this many times the size of its weights: activations and copies need memory too."""


def fastest_device(model: torch.nn.Module) -> torch.device:
    """The first GPU that torch sees, where `model` has room on it; else the CPU."""
    if torch.cuda.is_available():
        size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        if ROOM * size < torch.cuda.mem_get_info()[0]:
            return torch.device("cuda")
    return torch.device("cpu")


@contextmanager
def on_fastest_device(model: torch.nn.Module) -> Iterator[torch.device]:
    """`model` on the fastest device while the context lasts, then on the device it was on before."""
    before, device = next(model.parameters()).device, fastest_device(model)
    model.to(device)
    try:
        yield device
    finally:
        model.to(before)
        torch.cuda.empty_cache()  # frees what torch caches: what comes next may take minutes on the CPU


def feed_to(feed: Feed, device: torch.device) -> Feed:
    """`feed` on `device`."""
    return {name: tensor.to(device) for name, tensor in feed.items()}
