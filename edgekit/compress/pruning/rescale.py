"""Scales for what was kept, layer by layer, so that each block's sum comes close to the dense one again.

Kwon et al. 2022, section 4.3: min over m of || A m - b ||^2, where column i of A is the kept unit's contribution to the block's
output. Column i of a feed-forward block is its activation times its output weights, so A'A = (a'a) * (W W') elementwise and
the problem has as many unknowns as units, however many tokens: it is solved exactly in float64. The paper stops LSMR
early, which keeps ill-determined scales near 1; here a ridge does, of the strength that serves held-out tokens best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np
import torch

from edgekit.compress.pruning.observe import Look, observe
from edgekit.models.anatomy import anatomy_of, head_size_of, layers_of, sum_readers
from edgekit.models.device import Feed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Rescaling", "fold_scales", "solve_scales"]

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
"""Ridges to choose from, in units of the mean diagonal of A'A."""
LARGEST = 10.0
"""A scale beyond this means that the kept units cannot stand in for the removed ones; tuning stops there, as in the paper."""


class Rescaling(TypedDict):
    """What was tuned."""

    blocks_tuned: int
    errors: list[list[float]]
    """Relative error of each tuned block's sum, before and after."""
    stopped: NotRequired[str]
    """Why tuning stopped before the last block, if it did."""


def solve_scales(parts: np.ndarray, weights: np.ndarray, rest: np.ndarray, size: int) -> np.ndarray:
    """Scales (units,) near 1 that bring sum_i m_i parts_i weights_i closest to its value at m = 1 plus `rest`.

    `parts` (tokens, units * size): each unit's inputs of the projection. `weights` (units * size, hidden): the projection.
    `rest` (tokens, hidden): what is missing from the dense output. All float64. Every fifth token is held out to choose the
    ridge; where no ridge helps the held-out tokens, the scales stay at 1.
    """
    held = np.arange(len(parts)) % 5 == 4
    inner, pull = _normal_equations(parts[~held], weights, rest[~held], size)
    unit = np.eye(len(inner)) * max(float(np.trace(inner)) / len(inner), 1e-30)
    best, scales = float(np.linalg.norm(rest[held])), np.ones(len(inner))
    for strength in STRENGTHS:
        change = np.linalg.solve(inner + strength * unit, pull)
        left = float(np.linalg.norm(rest[held] - (parts[held] * np.repeat(change, size)) @ weights))
        if left < best:
            best, scales = left, 1.0 + change
    return scales


def _normal_equations(parts: np.ndarray, weights: np.ndarray, rest: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A'A (units, units) and A'rest (units,)."""
    inner = (parts.T @ parts) * (weights @ weights.T)
    pull = ((parts.T @ rest) * weights).sum(axis=1)
    units = len(inner) // size
    return inner.reshape(units, size, units, size).sum(axis=(1, 3)), pull.reshape(units, size).sum(axis=1)


def fold_scales(
    pruned: PreTrainedModel, dense: PreTrainedModel, feeds: Sequence[Feed], progress: Callable[[int, int], None]
) -> Rescaling:
    """Tune and fold scales into the projections of `pruned`, in place, to follow `dense`; both in eval mode, same depth."""
    anatomy = anatomy_of(pruned)
    projections = (anatomy.attention_out, anatomy.down)
    layers = layers_of(pruned)
    errors: list[list[float]] = []
    for number, (layer, readers, theirs) in enumerate(zip(layers, sum_readers(pruned), sum_readers(dense), strict=True)):
        for block, path in enumerate(projections):
            progress(number * len(projections) + block, len(layers) * len(projections))
            projection = attrgetter(path)(layer)
            if projection.in_features == 0:
                continue
            parts, ours = _inputs(pruned, feeds, projection, readers[block])
            (wanted,) = _inputs(dense, feeds, theirs[block])
            rest = wanted - ours
            size = head_size_of(pruned, layer) if block == 0 else 1
            weights = projection.weight.detach().double().numpy().T
            scales = solve_scales(parts, weights, rest, size)
            if np.abs(scales).max() > LARGEST:
                return {"blocks_tuned": len(errors), "stopped": "a scale above 10", "errors": errors}
            change = np.repeat(scales - 1.0, size)
            left = rest - (parts * change) @ weights
            norm = float(np.linalg.norm(wanted))
            errors.append([round(float(np.linalg.norm(rest)) / norm, 5), round(float(np.linalg.norm(left)) / norm, 5)])
            projection.weight.data.mul_(torch.from_numpy(np.repeat(scales, size)).to(projection.weight.dtype))
    return {"blocks_tuned": len(errors), "errors": errors}


def _inputs(model: PreTrainedModel, feeds: Sequence[Feed], *modules: torch.nn.Module) -> list[np.ndarray]:
    """Inputs of each of `modules` over all real tokens, float64 (tokens, in)."""
    found: list[list[np.ndarray]] = [[] for _ in modules]

    def keep(position: int) -> Look:
        return lambda values, real: found[position].append(values[real].double().cpu().numpy())

    observe(model, feeds, inputs={module: keep(position) for position, module in enumerate(modules)})
    return [np.concatenate(parts) for parts in found]
