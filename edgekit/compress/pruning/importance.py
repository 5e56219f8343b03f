"""Which heads, neurons and numbers of the width a model uses most: forward passes over training texts, no gradients.

Muralidharan et al. 2024 (Minitron, section 2.2): the importance of a head is the size of its output, of a neuron that of its
activation, of a number of the width that of it after the normalisations. Sizes here are mean squares over real tokens; of the
width, each normalisation's are divided by their sum before they are added, so that all layers count alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch

from edgekit.errors import BadInput
from edgekit.models.anatomy import anatomy_of, layers_of, sum_readers
from edgekit.models.device import feed_to, on_fastest_device
from edgekit.models.shapes import shapes_of

__all__ = ["Importance", "importance_of", "largest"]

Feed = dict[str, torch.Tensor]
"""Inputs of the model, int64 (b, s) each."""


@dataclass(frozen=True)
class Importance:
    """Float64, larger where more depends on it."""

    width: np.ndarray
    """(width,)."""
    heads: list[np.ndarray]
    """(heads,) for each layer."""
    neurons: list[np.ndarray]
    """(neurons,) for each layer."""


def importance_of(model: Any, feeds: Sequence[Feed]) -> Importance:
    """The importance of every part of `model` over `feeds`."""
    anatomy, layers, shapes = anatomy_of(model), layers_of(model), shapes_of(model)
    outs = [attrgetter(anatomy.attention_out)(layer) for layer in layers]
    downs = [attrgetter(anatomy.down)(layer) for layer in layers]
    norms = [norm for pair in sum_readers(model) for norm in pair]
    sums: dict[int, torch.Tensor] = {}
    real = torch.zeros(0)

    def add(module: Any, states: torch.Tensor) -> None:
        squares = states.detach()[real].double().square().sum(dim=0)
        sums[id(module)] = sums.get(id(module), torch.zeros_like(squares)) + squares

    def before(module: Any, inputs: Any) -> None:
        add(module, inputs[0])

    def after(module: Any, _: Any, output: Any) -> None:
        add(module, output)

    handles = [module.register_forward_pre_hook(before) for module in (*outs, *downs)]
    handles += [module.register_forward_hook(after) for module in norms]
    try:
        with torch.no_grad(), on_fastest_device(model) as place:
            for given in feeds:
                feed = feed_to(given, place)
                real = feed["attention_mask"].bool()
                model(**feed)
    finally:
        for handle in handles:
            handle.remove()

    def found(module: Any) -> np.ndarray:
        return np.asarray(sums[id(module)].cpu())

    return Importance(
        width=np.sum([found(norm) / found(norm).sum() for norm in norms], axis=0),
        heads=[
            found(out).reshape(shape.heads, -1).sum(axis=1) if shape.heads else np.zeros(0)
            for out, shape in zip(outs, shapes, strict=True)
        ],
        neurons=[found(down) if shape.neurons else np.zeros(0) for down, shape in zip(downs, shapes, strict=True)],
    )


def largest(values: np.ndarray, count: int, what: str) -> list[int]:
    """Numbers of the `count` largest of `values`, rising; of equals the first.

    Raises:
        BadInput: there are not so many. `what` names them.
    """
    if count > len(values):
        raise BadInput(
            f"{what} = {count}, but there are {len(values)}", where="compress, distill", fix=f"ask for {len(values)} or fewer"
        )
    return sorted(np.argsort(-values, kind="stable")[:count].tolist())
