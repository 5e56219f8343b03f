"""Masks learned by gradient: hard-concrete gates on heads, neurons and whole blocks, drawn to a target by a Lagrangian.

CoFi (Xia et al. 2022, arXiv 2204.00408, section 3) with the gates of Louizos et al. 2018 (arXiv 1712.01312, eqs. 10 to 12): a
gate is s = sigmoid((log u - log(1 - u) + log a) / beta), stretched to (gamma, zeta) and clamped to [0, 1], so that it is
exactly 0 or 1 with a chance and has a gradient in between. A head's mask is its own gate times its block's, so one gate can
take out a block. A killed run resumes after its last whole epoch, and ends in the same masks and weights, as in `training`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekit.compress.pruning.fisher import masked
from edgekit.models.anatomy import anatomy_of, layers_of
from edgekit.models.shapes import LayerShape, cut, shapes_of
from edgekit.train.device import placed
from edgekit.train.loop import keep_epoch, resume_epoch

__all__ = ["Gates", "Learning", "apply_masks", "learn_masks", "open_chance", "sample_gates", "settled_gates"]

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
START = 0.99
"""Chance of a gate to be open at the beginning."""


def sample_gates(log_alpha: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gates in [0, 1] drawn from their distribution, shaped like `log_alpha`; differentiable in it. `generator`: the processor's."""
    uniform = torch.rand(log_alpha.shape, generator=generator).clamp(1e-6, 1 - 1e-6).to(log_alpha.device)
    soft = torch.sigmoid((uniform.log() - (1 - uniform).log() + log_alpha) / BETA)
    return (soft * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def settled_gates(log_alpha: torch.Tensor) -> torch.Tensor:
    """The gates without chance, as they are used after training."""
    return (torch.sigmoid(log_alpha) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def open_chance(log_alpha: torch.Tensor) -> torch.Tensor:
    """P(gate > 0)."""
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


class Gates(torch.nn.Module):
    """log a of every gate of a model, and the two multipliers of the constraint."""

    def __init__(self, shapes: Sequence[LayerShape]) -> None:
        super().__init__()
        start = math.log(START / (1 - START)) + BETA * math.log(-GAMMA / ZETA)
        self.heads = torch.nn.ParameterList([torch.full((shape.heads,), start) for shape in shapes])
        self.neurons = torch.nn.ParameterList([torch.full((shape.neurons,), start) for shape in shapes])
        self.blocks = torch.nn.Parameter(torch.full((len(shapes), 2), start))
        self.multipliers = torch.nn.Parameter(torch.zeros(2))

    def masks(self, gates: Callable[[torch.Tensor], torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Masks of heads (heads,) and neurons (neurons,) of each layer, from gates made of log a by `gates`."""
        blocks = gates(self.blocks)
        heads = [gates(part) * blocks[layer, 0] for layer, part in enumerate(self.heads)]
        return heads, [gates(part) * blocks[layer, 1] for layer, part in enumerate(self.neurons)]

    def expected_share(self, head_cost: float, neuron_cost: float) -> torch.Tensor:
        """Share of the cost of all heads and neurons that is expected to stay."""
        heads, neurons = self.masks(open_chance)
        kept = head_cost * torch.cat(heads).sum() + neuron_cost * torch.cat(neurons).sum()
        whole = head_cost * sum(map(len, heads)) + neuron_cost * sum(map(len, neurons))
        return kept / whole

    def penalty(self, target: float, head_cost: float, neuron_cost: float) -> torch.Tensor:
        """l1 (share - target) + l2 (share - target)^2; the multipliers climb while the gates descend."""
        over = self.expected_share(head_cost, neuron_cost) - target
        return self.multipliers[0] * over + self.multipliers[1] * over.square()


@dataclass(frozen=True)
class Learning:
    """How long and how fast."""

    target: float
    """Share of the cost to end with, 0..1."""
    epochs: int
    per_epoch: int
    """Steps of an epoch."""
    rising: float = 0.5
    """Share of the steps over which the target falls from 1 to its value."""
    gate_rate: float = 0.1
    weight_rate: float = 2e-5
    """Learning rate of the model's own weights; 0 leaves them as they are."""


def learn_masks(
    model: Any,
    loss: Callable[[int, torch.device], torch.Tensor],
    plan: Learning,
    head_cost: float,
    neuron_cost: float,
    *,
    seed: int,
    scratch: Path,
    progress: Callable[[int, float, float], None] = lambda step, value, share: None,
    after_step: Callable[[], None] = lambda: None,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Train gates, and `model`'s weights in place, and return the settled masks of each layer: float64 (heads,), (neurons,).

    `loss(step, place)`: the loss of one batch through `model`, which has the masks on it by then and is on `place` with the gates;
    steps count through all epochs.
    `after_step` is called whenever the weights have changed. Units are closed, the least open first, until the target is met, so
    the masks keep within it. `scratch` outlives a killed run.
    """
    gates, generator = Gates(shapes_of(model)), torch.Generator()
    groups = [
        {"params": [*gates.heads, *gates.neurons, gates.blocks], "lr": plan.gate_rate},
        {"params": [gates.multipliers], "lr": plan.gate_rate, "maximize": True},
    ]
    if plan.weight_rate > 0:
        weights = [value for value in model.parameters() if value.requires_grad]
        groups.append({"params": weights, "lr": plan.weight_rate})
    whole, total = torch.nn.ModuleDict({"model": model, "gates": gates}), plan.epochs * plan.per_epoch
    with placed(whole) as place:
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        state = resume_epoch(scratch, whole, optimizer, place)
        for epoch in range(len(state["quality"]), plan.epochs):
            torch.manual_seed(seed * 1000 + epoch)
            generator.manual_seed(seed * 1000 + epoch)
            for step in range(epoch * plan.per_epoch, (epoch + 1) * plan.per_epoch):
                gone = min(1.0, (step + 1) / max(1.0, plan.rising * total))
                heads, neurons = gates.masks(lambda part: sample_gates(part, generator))
                with masked(model, heads, neurons):
                    value = loss(step, place)
                penalty = gates.penalty(1 - gone * (1 - plan.target), head_cost, neuron_cost)
                torch.autograd.backward(value + penalty)
                optimizer.step()
                after_step()
                optimizer.zero_grad()
                model.zero_grad()
                progress(step, value.item(), gates.expected_share(head_cost, neuron_cost).item())
            state["quality"].append(-value.item())
            keep_epoch(scratch, whole, optimizer, state)
    return _settled(gates, plan.target, head_cost, neuron_cost)


def _settled(gates: Gates, target: float, head_cost: float, neuron_cost: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    with torch.no_grad():
        heads, neurons = ([mask.double().numpy() for mask in part] for part in gates.masks(settled_gates))
        chances = [np.concatenate([one.double().numpy() for one in part]) for part in gates.masks(open_chance)]
    flat = np.concatenate([*heads, *neurons])
    costs = np.repeat([head_cost, neuron_cost], [len(part) for part in chances])
    order = np.argsort(np.concatenate(chances), kind="stable")
    spent = float(costs[flat > 0].sum())
    for unit in order:
        if spent <= target * float(costs.sum()):
            break
        spent -= float(costs[unit]) if flat[unit] > 0 else 0.0
        flat[unit] = 0.0
    parts = np.split(flat, np.cumsum([len(one) for one in (*heads, *neurons)])[:-1])
    return parts[: len(heads)], parts[len(heads) :]


def apply_masks(model: Any, heads: Sequence[np.ndarray], neurons: Sequence[np.ndarray]) -> None:
    """Fold masks into the output projections of `model`, in place, and cut what they close."""
    anatomy = anatomy_of(model)
    for layer, shape, head, neuron in zip(layers_of(model), shapes_of(model), heads, neurons, strict=True):
        for path, mask in ((anatomy.attention_out, np.repeat(head, shape.head_size)), (anatomy.down, neuron)):
            projection = attrgetter(path)(layer)
            if projection.in_features:
                projection.weight.data.mul_(torch.from_numpy(mask).to(projection.weight.dtype))
    cut(model, [np.flatnonzero(mask).tolist() for mask in heads], [np.flatnonzero(mask).tolist() for mask in neurons])
