"""Which heads and neurons matter, after Kwon et al. 2022, "A Fast Post-Training Pruning Framework for Transformers".

The inputs of the output projections are multiplied by masks of ones; the gradient of the loss with respect to them, row by row, gives
the empirical Fisher information of removing a head or a neuron (eqs. 4 to 6). Weights do not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.compress.calibration import LabelledBatch
from edgekit.compress.pruning.cost import UnitCosts
from edgekit.models.anatomy import anatomy_of, head_size_of, layers_of
from edgekit.models.device import feed_to, on_fastest_device
from edgekit.models.shapes import LayerShape
from edgekit.tasks import EncoderTask
from edgekit.tasks.losses import has_label

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Gradients", "Pick", "choose", "gradients", "masked", "rearrange"]


@dataclass(frozen=True)
class Gradients:
    """dL/dm of each row: one float64 array (rows, heads) and one (rows, neurons) a layer."""

    heads: list[np.ndarray]
    neurons: list[np.ndarray]


@dataclass(frozen=True)
class Pick:
    """Which heads and neurons of each layer stay: bool arrays (heads,) and (neurons,)."""

    heads: list[np.ndarray]
    neurons: list[np.ndarray]


@contextmanager
def masked(model: PreTrainedModel, heads: Sequence[torch.Tensor], neurons: Sequence[torch.Tensor]) -> Iterator[None]:
    """Multiply every head's and neuron's output by its mask, (heads,) or (batch, heads), while the context lasts."""
    anatomy = anatomy_of(model)
    handles = []
    for layer, head, neuron in zip(layers_of(model), heads, neurons, strict=True):
        size = head_size_of(model, layer)
        out, down = attrgetter(anatomy.attention_out)(layer), attrgetter(anatomy.down)(layer)
        handles.append(out.register_forward_pre_hook(_scale(head, size)))
        handles.append(down.register_forward_pre_hook(_scale(neuron, 1)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _scale(mask: torch.Tensor, repeat: int) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]]:
    def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        factor = mask.repeat_interleave(repeat, dim=-1)
        return (inputs[0] * (factor[:, None, :] if factor.ndim == 2 else factor), *inputs[1:])

    return hook


def gradients(
    model: PreTrainedModel,
    task: EncoderTask,
    shapes: Sequence[LayerShape],
    batches: Sequence[LabelledBatch],
    seed: int,
    progress: Callable[[int], None],
) -> Gradients:
    """Mask gradients over `batches`, of a model in eval mode.

    A mask with a row for each text gives each text's own gradient in one backward pass. Where there are no labels, or some are
    missing, they are drawn from the model's own predictions: the Fisher information as it is defined.
    """
    heads: list[list[np.ndarray]] = [[] for _ in shapes]
    neurons: list[list[np.ndarray]] = [[] for _ in shapes]
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        with on_fastest_device(model) as device:
            for done, (given, labels) in enumerate(batches, 1):
                feed = feed_to(given, device)
                mask = feed["attention_mask"]
                head = [torch.ones(len(mask), shape.heads, device=device, requires_grad=True) for shape in shapes]
                neuron = [torch.ones(len(mask), shape.neurons, device=device, requires_grad=True) for shape in shapes]
                with masked(model, head, neuron):
                    output = task.tensor(model, model(**feed), mask)
                generator = torch.Generator().manual_seed(seed + done - 1)
                known = _labels(task, output.detach().cpu(), given["attention_mask"], labels, generator).to(device)
                torch.autograd.backward(task.hard(output, known, mask).sum())
                for layer in range(len(shapes)):
                    heads[layer].append(_gradient(head[layer]))
                    neurons[layer].append(_gradient(neuron[layer]))
                progress(done)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    return Gradients([np.concatenate(part) for part in heads], [np.concatenate(part) for part in neurons])


def _labels(
    task: EncoderTask, output: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor | None, generator: torch.Generator
) -> torch.Tensor:
    """`labels`, where windows have none drawn from the outputs; all on the CPU, whose random draws a seed fixes."""
    if labels is None or not task.supervised:
        return task.draw(output, mask, generator)
    known = has_label(labels)
    if bool(known.all()):
        return labels
    drawn = task.draw(output, mask, generator)
    return torch.where(known.reshape(-1, *[1] * (labels.ndim - 1)), labels, drawn)


def _gradient(mask: torch.Tensor) -> np.ndarray:
    return np.zeros(mask.shape) if mask.grad is None else mask.grad.double().cpu().numpy()


def choose(mask_gradients: Gradients, costs: UnitCosts, budget: float, multiple: int) -> Pick:
    """The heads and neurons with the least information lost (diagonal Fisher) at a cost of at most `budget`.

    For each number of heads, taken by importance over all layers, the rest of the budget goes to the best neurons; the best
    total wins (Algorithm 1 of the paper). Where layers differ in what a unit costs, units are taken by their importance for each unit of
    cost. Then each layer's neurons are brought to a multiple of `multiple`, for kernels that work in blocks, without leaving the budget.
    """
    heads = _Ranked.of(mask_gradients.heads, costs.heads)
    neurons = _Ranked.of(mask_gradients.neurons, costs.neurons)
    counts = np.arange(heads.affordable(budget) + 1)
    rest = np.array([neurons.affordable(budget - spent) for spent in heads.spent[counts]])
    take = int(np.argmax(heads.held[counts] + neurons.held[rest]))
    room = budget - float(heads.spent[take])
    scores = [(gradient**2).sum(axis=0) for gradient in mask_gradients.neurons]
    return Pick(heads.first(take), _in_blocks(neurons.first(int(rest[take])), scores, costs.neurons, room, multiple))


@dataclass(frozen=True)
class _Ranked:
    """Units of all layers, the most important for their cost first, with what the first n hold and cost together, n = 0, 1, ..."""

    order: np.ndarray
    held: np.ndarray
    spent: np.ndarray
    sizes: list[int]

    @classmethod
    def of(cls, gradients: Sequence[np.ndarray], costs: Sequence[float]) -> _Ranked:
        sizes = [gradient.shape[1] for gradient in gradients]
        score, cost = np.concatenate([(gradient**2).sum(axis=0) for gradient in gradients]), np.repeat(costs, sizes)
        order = np.argsort(-score / cost, kind="stable")
        held, spent = (np.concatenate([[0.0], np.cumsum(one[order])]) for one in (score, cost))
        return cls(order, held, spent, sizes)

    def affordable(self, budget: float) -> int:
        """How many of the first units fit."""
        return int(np.searchsorted(self.spent[1:], budget * (1 + 1e-12) + 1e-9, side="right"))

    def first(self, count: int) -> list[np.ndarray]:
        """Which units of each layer are among the first `count`."""
        kept = np.zeros(len(self.order), dtype=bool)
        kept[self.order[:count]] = True
        return np.split(kept, np.cumsum(self.sizes)[:-1])


def _in_blocks(
    kept: list[np.ndarray], scores: list[np.ndarray], costs: Sequence[float], room: float, multiple: int
) -> list[np.ndarray]:
    """Round each layer down to whole blocks, then give back blocks where they are worth most for their cost while there is room."""
    counts = [int(layer.sum()) // multiple * multiple for layer in kept]
    order = [np.argsort(-score, kind="stable") for score in scores]
    while True:
        spent = sum(count * cost for count, cost in zip(counts, costs, strict=True))
        worth = [
            (float(score[ranked[count : count + multiple]].sum()) / cost, layer)
            for layer, (score, ranked, count, cost) in enumerate(zip(scores, order, counts, costs, strict=True))
            if count + multiple <= len(score) and spent + multiple * cost <= room * (1 + 1e-12) + 1e-9
        ]
        if not worth:
            break
        counts[max(worth)[1]] += multiple
    result = []
    for score, ranked, count in zip(scores, order, counts, strict=True):
        mask = np.zeros(len(score), dtype=bool)
        mask[ranked[:count]] = True
        result.append(mask)
    return result


def rearrange(kept: np.ndarray, gradient: np.ndarray, most: int = 200) -> np.ndarray:
    """Swap kept and removed units of one layer as long as that lowers the block-Fisher loss p' F p (section 4.2 of the paper).

    `kept` bool (units,), `gradient` (rows, units); F = G' G, p marks the removed units. The best swap comes first; at most `most` are made.
    """
    kept = kept.copy()
    if kept.all() or not kept.any():
        return kept
    fisher = gradient.T @ gradient
    diagonal = np.diag(fisher)
    for _ in range(most):
        removed, stay = np.flatnonzero(~kept), np.flatnonzero(kept)
        pull = fisher[:, removed].sum(axis=1)
        change = (diagonal[removed] - 2 * pull[removed])[:, None] + (diagonal[stay] + 2 * pull[stay])[None, :]
        change -= 2 * fisher[np.ix_(removed, stay)]
        row, column = np.unravel_index(int(change.argmin()), change.shape)
        if change[row, column] >= -1e-12 * max(1.0, float(pull[removed].sum())):
            break
        kept[removed[row]], kept[stay[column]] = True, False
    return kept
