"""Masks learned by gradient: hard-concrete gates on heads, neurons and whole blocks, held to a target by Lagrange multipliers.

CoFi (Xia et al. 2022, arXiv 2204.00408, section 3) with the gates of Louizos et al. 2018 (arXiv 1712.01312, eqs. 10 to 12): a
gate is s = sigmoid((log u - log(1 - u) + log a) / beta), stretched to (gamma, zeta) and clamped to [0, 1], so that it is
exactly 0 or 1 with some probability and has a gradient in between. A head's mask is its own gate times its block's, so one gate can
take out a block. Gates are trained together with the weights by `edgekit.train.loop.fit`, at a learning rate of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.compress.pruning.cost import UnitCosts
from edgekit.compress.pruning.fisher import masked
from edgekit.models.anatomy import anatomy_of, layers_of
from edgekit.models.device import Feed
from edgekit.models.shapes import LayerShape, cut, shapes_of
from edgekit.progress import Progress
from edgekit.tasks.encode import Encoded
from edgekit.train.loop import BatchLoss, History, Hyperparameters, ParameterGroup, fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "Constraint",
    "Gates",
    "LearnedMasks",
    "apply_masks",
    "learn_masks",
    "open_probability",
    "sample_gates",
    "settled_gates",
    "settled_masks",
    "whole_multiples",
]

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
START = 0.99
"""Probability of a gate to be open at the beginning."""


def sample_gates(log_alpha: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gates in [0, 1] drawn from their distribution, shaped like `log_alpha`; differentiable in it. `generator`: one of the CPU."""
    uniform = torch.rand(log_alpha.shape, generator=generator).clamp(1e-6, 1 - 1e-6).to(log_alpha.device)
    soft = torch.sigmoid((uniform.log() - (1 - uniform).log() + log_alpha) / BETA)
    return (soft * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def settled_gates(log_alpha: torch.Tensor) -> torch.Tensor:
    """The gates without randomness, as they are used after training."""
    return (torch.sigmoid(log_alpha) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def open_probability(log_alpha: torch.Tensor) -> torch.Tensor:
    """P(gate > 0)."""
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


@dataclass(frozen=True)
class Constraint:
    """The share of the cost of all heads and neurons that is to stay."""

    target: float
    """Share to end with, 0..1."""
    costs: UnitCosts
    rising: float = 0.5
    """Share of the steps over which the target falls from 1 to its value."""

    def target_at(self, step: int, total: int) -> float:
        """The share that step `step` of `total` aims at."""
        return 1 - min(1.0, (step + 1) / max(1.0, self.rising * total)) * (1 - self.target)


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

    def expected_share(self, constraint: Constraint) -> torch.Tensor:
        """Share of the cost of all heads and neurons that is expected to stay; a scalar."""
        heads, neurons = self.masks(open_probability)
        units = [*zip(heads, constraint.costs.heads, strict=True), *zip(neurons, constraint.costs.neurons, strict=True)]
        whole = sum(cost * len(masks) for masks, cost in units)
        return torch.stack([cost * masks.sum() for masks, cost in units]).sum() / whole

    def penalty(self, constraint: Constraint, target: float) -> torch.Tensor:
        """l1 (share - target) + l2 (share - target)^2; the multipliers climb while the gates descend."""
        over = self.expected_share(constraint) - target
        return self.multipliers[0] * over + self.multipliers[1] * over.square()

    def groups(self, learning_rate: float) -> list[ParameterGroup]:
        """The gates, which descend, and the multipliers, which climb."""
        gates = [*self.heads, *self.neurons, self.blocks]
        return [ParameterGroup(gates, learning_rate), ParameterGroup([self.multipliers], learning_rate, maximize=True)]


@dataclass
class _MaskedLoss:
    """The loss of a batch through gates drawn for its step, with the penalty of the constraint, as `fit` calls it."""

    loss: BatchLoss
    constraint: Constraint
    seed: int
    step: int = 0
    total: int = 1

    def begin(self, step: int, total: int) -> None:
        """Say which step comes: gates and target depend on nothing else, so that a resumed run draws the same."""
        self.step, self.total = step, total

    @property
    def last(self) -> bool:
        """Whether no step comes after it."""
        return self.step + 1 == self.total

    def __call__(self, model: PreTrainedModel, gates: torch.nn.Module | None, feed: Feed, windows: np.ndarray) -> torch.Tensor:
        assert isinstance(gates, Gates)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        heads, neurons = gates.masks(lambda part: sample_gates(part, generator))
        with masked(model, heads, neurons):
            value = self.loss(model, None, feed, windows)
        return value + gates.penalty(self.constraint, self.constraint.target_at(self.step, self.total))


@dataclass(frozen=True)
class LearnedMasks:
    """What was learned."""

    heads: list[np.ndarray]
    """Mask of the heads of each layer, float64 (heads,)."""
    neurons: list[np.ndarray]
    """Mask of the neurons of each layer, float64 (neurons,)."""
    expected_share: float
    """Share of the cost that the gates expect to stay, before units are closed to meet the target."""
    history: History
    """With the quality of the masked model after each epoch."""


def learn_masks(
    model: PreTrainedModel,
    train: Encoded,
    loss: BatchLoss,
    evaluate: Callable[[PreTrainedModel], float],
    plan: Hyperparameters,
    constraint: Constraint,
    *,
    gate_rate: float,
    multiple: int,
    seed: int,
    scratch: Path,
    progress: Progress,
    label: str,
    after_step: Callable[[], None] = lambda: None,
) -> LearnedMasks:
    """Train gates, and `model`'s weights in place, and return the masks of heads and neurons that keep within the constraint.

    `loss` and `evaluate` see the model with masks on it. `gate_rate`: learning rate of gates and multipliers; one of 0 in `plan`
    leaves the weights as they are. Masks belong to the weights that they were trained with, so the last epoch is taken, not
    the best.
    """
    gates, step = Gates(shapes_of(model)), _MaskedLoss(loss, constraint, seed)

    def evaluate_masked(model: PreTrainedModel) -> float:
        device = gates.blocks.device
        on = [
            [torch.from_numpy(mask).float().to(device) for mask in part] for part in settled_masks(gates, constraint, multiple)
        ]
        with masked(model, *on):
            return evaluate(model)

    history = fit(
        model, train, step, evaluate_masked, plan,
        seed=seed, scratch=scratch, progress=progress, label=label, extra=gates, extra_groups=gates.groups(gate_rate),
        before_step=step.begin, after_step=after_step, may_be_best=lambda: step.last,
    )  # fmt: skip
    heads, neurons = settled_masks(gates, constraint, multiple)
    return LearnedMasks(heads, neurons, gates.expected_share(constraint).item(), history)


def settled_masks(gates: Gates, constraint: Constraint, multiple: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Masks of the heads and neurons of each layer, float64 (heads,) and (neurons,), as they are after training.

    Units are closed, the least probable first, until the constraint is met; then a `multiple` of neurons is left in each layer.
    """
    with torch.no_grad():
        heads, neurons = ([mask.double().cpu().numpy() for mask in part] for part in gates.masks(settled_gates))
        probabilities = [mask.double().cpu().numpy() for part in gates.masks(open_probability) for mask in part]
    flat = np.concatenate([*heads, *neurons])
    costs = np.repeat([*constraint.costs.heads, *constraint.costs.neurons], [len(part) for part in probabilities])
    order = np.argsort(np.concatenate(probabilities), kind="stable")
    spent = float(costs[flat > 0].sum())
    for unit in order:
        if spent <= constraint.target * float(costs.sum()):
            break
        spent -= float(costs[unit]) if flat[unit] > 0 else 0.0
        flat[unit] = 0.0
    parts = np.split(flat, np.cumsum([len(mask) for mask in (*heads, *neurons)])[:-1])
    return parts[: len(heads)], [whole_multiples(mask, multiple) for mask in parts[len(heads) :]]


def whole_multiples(mask: np.ndarray, multiple: int) -> np.ndarray:
    """`mask` (neurons,) with its smallest open entries closed until a multiple of `multiple` is open."""
    closed = mask.copy()
    opened = (mask > 0).nonzero()[0]
    extra = len(opened) % multiple
    closed[opened[mask[opened].argsort(kind="stable")[:extra]]] = 0.0
    return closed


def apply_masks(model: PreTrainedModel, heads: Sequence[np.ndarray], neurons: Sequence[np.ndarray]) -> None:
    """Fold masks into the output projections of `model`, in place, and cut the units that they close."""
    anatomy = anatomy_of(model)
    for layer, shape, head, neuron in zip(layers_of(model), shapes_of(model), heads, neurons, strict=True):
        for path, mask in ((anatomy.attention_out, np.repeat(head, shape.head_size)), (anatomy.down, neuron)):
            projection = attrgetter(path)(layer)
            if projection.in_features:
                projection.weight.data.mul_(torch.from_numpy(mask).to(projection.weight.dtype))
    cut(model, [np.flatnonzero(mask).tolist() for mask in heads], [np.flatnonzero(mask).tolist() for mask in neurons])
