"""Which heads, neurons and dimensions of the hidden size a model uses most: forward passes over training texts, no gradients.

Muralidharan et al. 2024 (Minitron, section 2.2): the importance of a head is the size of its output, of a neuron that of its
activation, of a hidden dimension that of its values after the normalisations. Sizes here are mean squares over real tokens; of the
hidden dimensions, each normalisation's are divided by their sum before they are added, so that all layers weigh the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.compress.pruning.observe import Look, observe
from edgekit.errors import BadInput
from edgekit.models.anatomy import anatomy_of, layers_of, sum_readers
from edgekit.models.device import Feed
from edgekit.models.shapes import shapes_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Importance", "importance_of", "largest"]


@dataclass(frozen=True)
class Importance:
    """Float64, larger where more depends on it."""

    hidden: np.ndarray
    """(hidden size,)."""
    heads: list[np.ndarray]
    """(heads,) for each layer."""
    neurons: list[np.ndarray]
    """(neurons,) for each layer."""


def importance_of(model: PreTrainedModel, feeds: Sequence[Feed]) -> Importance:
    """The importance of all heads, neurons and hidden dimensions of `model` over `feeds`."""
    anatomy, layers, shapes = anatomy_of(model), layers_of(model), shapes_of(model)
    outs = [attrgetter(anatomy.attention_out)(layer) for layer in layers]
    downs = [attrgetter(anatomy.down)(layer) for layer in layers]
    norms = [norm for pair in sum_readers(model) for norm in pair]
    sums: dict[torch.nn.Module, torch.Tensor] = {}

    def add_to(module: torch.nn.Module) -> Look:
        def add(values: torch.Tensor, real: torch.Tensor) -> None:
            squares = values.detach()[real].double().square().sum(dim=0)
            sums[module] = sums.get(module, torch.zeros_like(squares)) + squares

        return add

    def add_output_to(module: torch.nn.Module) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]:
        add = add_to(module)
        return lambda _, output, real: add(output, real)

    observe(
        model,
        feeds,
        inputs={module: add_to(module) for module in (*outs, *downs)},
        outputs={norm: add_output_to(norm) for norm in norms},
    )

    def squares(module: torch.nn.Module) -> np.ndarray:
        return np.asarray(sums[module].cpu())

    return Importance(
        hidden=np.sum([squares(norm) / squares(norm).sum() for norm in norms], axis=0),
        heads=[
            squares(out).reshape(shape.heads, -1).sum(axis=1) if shape.heads else np.zeros(0)
            for out, shape in zip(outs, shapes, strict=True)
        ],
        neurons=[squares(down) if shape.neurons else np.zeros(0) for down, shape in zip(downs, shapes, strict=True)],
    )


def largest(values: np.ndarray, count: int, what: str) -> list[int]:
    """Indices of the `count` largest of `values`, ascending; of equals the first.

    Raises:
        BadInput: there are fewer. `what` names them in the message.
    """
    if count > len(values):
        raise BadInput(
            f"{what} = {count}, but there are {len(values)}", where="compress, distill", fix=f"ask for {len(values)} or fewer"
        )
    return sorted(np.argsort(-values, kind="stable")[:count].tolist())
