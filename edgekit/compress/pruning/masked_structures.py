"""Heads and neurons removed gradually: masked by their Fisher information while a model trains, and cut out at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edgekit.compress.calibration import LabelledBatch
from edgekit.compress.pruning.cost import UnitCosts, check_budget, reads_one_token, unit_costs
from edgekit.compress.pruning.fisher import choose, gradients
from edgekit.compress.pruning.masked_weights import masks_of
from edgekit.models.anatomy import anatomy_of, layers_of
from edgekit.models.shapes import LayerShape, cut, shapes_of
from edgekit.tasks import EncoderTask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Costs", "cut_masked", "drop_structures", "structure_costs"]


@dataclass(frozen=True)
class Costs:
    """Multiplications of the units of each layer, and of all of them."""

    shapes: tuple[LayerShape, ...]
    units: UnitCosts
    whole: float


def structure_costs(
    model: PreTrainedModel, task: EncoderTask, batches: Sequence[LabelledBatch], least: float, multiple: int
) -> Costs:
    """Costs in `model` as it is, for inputs as long as those of `batches`.

    Raises:
        BadInput: `least`, the share that is to stay, is too small for one head or `multiple` neurons.
    """
    shapes = tuple(shapes_of(model))
    counts = [feed["attention_mask"].sum(dim=1).float() for feed, _ in batches]
    one = reads_one_token(model, task, batches[0][0])
    units = unit_costs(model, shapes, float(torch.cat(counts).mean()), one_token=one, measured=False, scratch=Path())
    whole = units.whole(shapes)
    check_budget(least * whole, units, whole, multiple, "compress, prune-gradual, 1 - sparsity")
    return Costs(shapes, units, whole)


def drop_structures(
    model: PreTrainedModel,
    task: EncoderTask,
    batches: Sequence[LabelledBatch],
    costs: Costs,
    sparsity: float,
    multiple: int,
    seed: int,
) -> None:
    """Mask the heads and neurons of `model` with the least Fisher information, for `sparsity` of the multiplications.

    `costs` are those of the layers before anything was masked. What is masked has no gradient any more, so it ranks last and
    stays masked.
    """
    shapes = costs.shapes
    training = model.training
    found = gradients(model.eval(), task, shapes, batches, seed, lambda done: None)
    model.train(training)
    pick = choose(found, costs.units, (1 - sparsity) * costs.whole, multiple)
    anatomy = anatomy_of(model)
    for layer, shape, heads, neurons in zip(layers_of(model), shapes, pick.heads, pick.neurons, strict=True):
        for path, kept in ((anatomy.attention_out, heads.repeat(shape.head_size)), (anatomy.down, neurons)):
            if len(kept):
                (mask,) = masks_of([attrgetter(path)(layer)])
                mask &= torch.from_numpy(kept).to(mask.device)


def cut_masked(model: PreTrainedModel) -> None:
    """Cut out the heads and neurons whose outputs are all multiplied by zero, in place, once the masks are folded in."""
    anatomy = anatomy_of(model)
    heads: list[list[int]] = []
    neurons: list[list[int]] = []
    for layer, shape in zip(layers_of(model), shapes_of(model), strict=True):
        for path, size, kept in ((anatomy.attention_out, shape.head_size, heads), (anatomy.down, 1, neurons)):
            module = attrgetter(path)(layer)
            used = (module.weight != 0).any(dim=0).reshape(-1, size).any(dim=1).tolist() if module.in_features else []
            kept.append([number for number, there in enumerate(used) if there])
    cut(model, heads, neurons)
