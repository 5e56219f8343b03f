"""Every block of a model at every level: which heads or neurons stay, and the output projection that compensates for the others."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.compress.pruning.gram import Gram, grams
from edgekit.compress.pruning.inverse_hessian import remove_groups, squared_error
from edgekit.models.anatomy import anatomy_of, layers_of
from edgekit.models.device import Feed
from edgekit.models.shapes import cut, shapes_of
from edgekit.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Snapshot", "assemble", "snapshots"]

TOGETHER = 16
"""Neurons removed at a time; heads go one by one."""


@dataclass(frozen=True)
class Snapshot:
    """One block at one level."""

    kept: tuple[int, ...]
    """Heads or neurons that stay."""
    weight: torch.Tensor
    """Projection of what stays, float32 (hidden, len(kept) * size)."""
    bias: torch.Tensor | None
    """With the mean of what was removed, float32 (hidden,)."""
    error: float
    """Squared error of the block's output on the calibration rows, as a share of its squared deviation from the mean."""


def snapshots(
    model: PreTrainedModel,
    heads: Sequence[Sequence[int]],
    neurons: Sequence[Sequence[int]],
    feeds: Sequence[Feed],
    damping: float,
    progress: Progress,
) -> list[list[Snapshot]]:
    """For each attention block, then each feed-forward block, a snapshot at each of its levels (descending, all units first).

    Raises:
        BadInput: a singular Hessian.
    """
    anatomy, shapes, count = anatomy_of(model), shapes_of(model), len(heads)
    paths = [anatomy.attention_out] * count + [anatomy.down] * count
    layers = list(layers_of(model)) * 2
    modules = {str(number): attrgetter(path)(layer) for number, (path, layer) in enumerate(zip(paths, layers, strict=True))}
    live = {name: module for name, module in modules.items() if module.in_features}
    total = len(feeds) + len(modules)
    found = grams(model, live, feeds, progress=lambda done: progress(done, total, "inputs of the projections"))
    blocks = []
    for number, module in enumerate(modules.values()):
        progress(len(feeds) + number, total, f"removals in block {number + 1} of {len(modules)}")
        levels = [*heads, *neurons][number]
        if str(number) not in live:
            blocks.append([Snapshot((), torch.zeros(module.out_features, 0), module.bias, 0.0)])
            continue
        size = shapes[number].head_size if number < count else 1
        blocks.append(_levels(module, found[str(number)], size, levels, damping, 1 if number < count else TOGETHER))
    return blocks


def _levels(
    module: torch.nn.Linear, gram: Gram, size: int, levels: Sequence[int], damping: float, together: int
) -> list[Snapshot]:
    weight = module.weight.detach().double().numpy()
    bias = None if module.bias is None else module.bias.detach().double().numpy()
    hessian = gram.second if bias is None else gram.centred().second
    mean = gram.first / gram.count
    whole = max(squared_error(weight, hessian), 1e-30)
    made = [Snapshot(tuple(range(levels[0])), module.weight.detach(), None if bias is None else module.bias.detach(), 0.0)]
    for level in remove_groups(weight, hessian, size, levels[1:], damping=damping, together=together):
        columns = (level.kept[:, None] * size + np.arange(size)).ravel()
        moved = None if bias is None else bias + weight @ mean - level.weight @ mean[columns]
        made.append(
            Snapshot(
                tuple(level.kept.tolist()),
                torch.from_numpy(level.weight).float(),
                None if moved is None else torch.from_numpy(moved).float(),
                level.error / whole,
            )
        )
    return made


def assemble(model: PreTrainedModel, blocks: Sequence[Sequence[Snapshot]], levels: Sequence[int]) -> PreTrainedModel:
    """A copy of `model` with each block at its level; blocks in the order of `snapshots`."""
    picked = [snapshots_of_block[level] for snapshots_of_block, level in zip(blocks, levels, strict=True)]
    count = len(picked) // 2
    made = copy.deepcopy(model)
    cut(made, [block.kept for block in picked[:count]], [block.kept for block in picked[count:]])
    anatomy = anatomy_of(made)
    for number, block in enumerate(picked):
        layer = layers_of(made)[number % count]
        projection = attrgetter(anatomy.attention_out if number < count else anatomy.down)(layer)
        if block.kept:
            projection.weight.data.copy_(block.weight)
        if block.bias is not None:
            projection.bias.data.copy_(block.bias)
    return made
