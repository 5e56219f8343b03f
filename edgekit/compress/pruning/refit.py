"""Output projections fitted anew, first to last, so that each block's sum in the pruned model comes close to the dense one.

min over W, b of || X W' + b - wanted ||^2 + ridge ||W - W_now||^2 with X the inputs that the already pruned and fitted blocks
before give: errors that removal causes in one block are corrected in the blocks after it. Where `rescale` fits one scale a unit, here
every weight of the projection changes, so the ridge is chosen on held-out texts, and a change that does not help them is not made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.compress.pruning.observe import Look, SeenEnough, observe
from edgekit.models.anatomy import anatomy_of, layers_of, sum_readers
from edgekit.models.device import Feed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["refit", "solve_change"]

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
"""Ridges to choose from, in units of the mean diagonal of X'X."""


def refit(
    pruned: PreTrainedModel, dense: PreTrainedModel, feeds: Sequence[Feed], progress: Callable[[int, int], None]
) -> list[list[float]]:
    """Change the output projections of `pruned` in place to follow `dense`; both in eval mode, same depth.

    Returns the relative error of each tuned block's sum over all tokens, before and after.
    """
    anatomy = anatomy_of(pruned)
    paths = (anatomy.attention_out, anatomy.down)
    modules = [attrgetter(path)(layer) for layer in layers_of(pruned) for path in paths]
    ours, theirs = ([norm for pair in sum_readers(model) for norm in pair] for model in (pruned, dense))
    wanted = _inputs(dense, feeds, theirs)
    held = np.concatenate([np.full(int(feed["attention_mask"].sum()), number % 5 == 4) for number, feed in enumerate(feeds)])
    errors = []
    for number, (module, norm) in enumerate(zip(modules, ours, strict=True)):
        progress(number, len(modules))
        if module.in_features == 0 or not held.any():
            continue
        parts, sums = _inputs(pruned, feeds, [module, norm])
        rest = wanted[number].astype(np.float64) - sums
        change, shift = solve_change(parts.astype(np.float64), rest, held, free_bias=module.bias is not None)
        size = float(np.linalg.norm(wanted[number]))
        left = rest - parts @ change - shift
        errors.append([round(float(np.linalg.norm(rest)) / size, 5), round(float(np.linalg.norm(left)) / size, 5)])
        module.weight.data.add_(torch.from_numpy(change.T).to(module.weight.dtype))
        if module.bias is not None:
            module.bias.data.add_(torch.from_numpy(shift).to(module.bias.dtype))
    return errors


def solve_change(parts: np.ndarray, rest: np.ndarray, held: np.ndarray, *, free_bias: bool) -> tuple[np.ndarray, np.ndarray]:
    """(change (in, out), shift (out,)) that brings parts @ change + shift close to `rest`; zeros where `held` rows gain nothing.

    `parts` (rows, in), `rest` (rows, out), float64; `held` bool (rows,): rows that only judge.
    """
    ours, theirs = parts[~held], rest[~held]
    centre = ours.mean(axis=0) if free_bias else np.zeros(parts.shape[1])
    level = theirs.mean(axis=0) if free_bias else np.zeros(rest.shape[1])
    inner, pull = (ours - centre).T @ (ours - centre), (ours - centre).T @ (theirs - level)
    unit = np.eye(len(inner)) * max(float(np.trace(inner)) / len(inner), 1e-30)
    change, shift = np.zeros_like(pull), np.zeros(rest.shape[1])
    best = float(np.linalg.norm(rest[held]))
    for strength in STRENGTHS:
        trial = np.linalg.solve(inner + strength * unit, pull)
        moved = level - centre @ trial
        left = float(np.linalg.norm(rest[held] - parts[held] @ trial - moved))
        if left < best:
            best, change, shift = left, trial, moved
    return change, shift


def _inputs(model: PreTrainedModel, feeds: Sequence[Feed], modules: Sequence[torch.nn.Module]) -> list[np.ndarray]:
    """Inputs of each of `modules`, in the order they run, over all real tokens, float32 (tokens, in)."""
    found: list[list[np.ndarray]] = [[] for _ in modules]

    def keep(position: int) -> Look:
        def look(values: torch.Tensor, real: torch.Tensor) -> None:
            found[position].append(values[real].cpu().numpy())
            if position == len(modules) - 1:
                raise SeenEnough

        return look

    observe(model, feeds, inputs={module: keep(position) for position, module in enumerate(modules)})
    return [np.concatenate(parts) for parts in found]
