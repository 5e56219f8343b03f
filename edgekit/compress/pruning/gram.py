"""What the inputs of linear modules look like over calibration texts: X'X and column sums, over real tokens only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgekit.errors import BadInput
from edgekit.models.device import feed_to, on_fastest_device

__all__ = ["Feed", "Gram", "grams", "real_tokens"]

Feed = dict[str, torch.Tensor]
"""Inputs of the model, int64 (b, s) each."""


@dataclass(frozen=True)
class Gram:
    """Sums over the inputs x of one module."""

    second: np.ndarray
    """Sum of x x', float64 (in, in)."""
    first: np.ndarray
    """Sum of x, float64 (in,)."""
    count: int
    """How many inputs."""

    def centred(self) -> Gram:
        """Second moments about the mean: the Hessian of a layer whose bias is free to follow."""
        mean = self.first / self.count
        return Gram(self.second - self.count * np.outer(mean, mean), np.zeros_like(self.first), self.count)


def real_tokens(feeds: Sequence[Feed]) -> int:
    """How many tokens of `feeds` are no padding.

    Raises:
        BadInput: none at all, or a text without a single one.
    """
    each = [feed["attention_mask"].sum(dim=1) for feed in feeds]
    empty = sum(int((tokens == 0).sum()) for tokens in each)
    if empty or not each:
        raise BadInput(
            f"{empty} calibration rows are all padding" if empty else "there are no calibration rows",
            where="compress, calibration rows",
            fix="remove empty texts from the training rows",
        )
    return sum(int(tokens.sum()) for tokens in each)


def grams(
    model: Any,
    modules: Mapping[str, torch.nn.Module],
    feeds: Sequence[Feed],
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Gram]:
    """The Gram of each of `modules` over `feeds`: products in float32 over one batch, their sum in float64.

    Modules that the model never calls are left out.
    """
    second: dict[str, torch.Tensor] = {}
    first: dict[str, torch.Tensor] = {}
    count = dict.fromkeys(modules, 0)
    real = torch.zeros(0)

    def hook(name: str) -> Callable[[Any, Any], None]:
        def add(_: Any, inputs: Any) -> None:
            rows = inputs[0].detach().flatten(0, -2)
            if inputs[0].shape[:-1] == real.shape:  # else not one input a token, such as tables of relative positions
                rows = rows[real.flatten()]
            width = rows.shape[1]
            second.setdefault(name, torch.zeros(width, width, dtype=torch.float64, device=rows.device)).add_(rows.T @ rows)
            first.setdefault(name, torch.zeros(width, dtype=torch.float64, device=rows.device)).add_(
                rows.sum(dim=0, dtype=torch.float64)
            )
            count[name] += len(rows)

        return add

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in modules.items()]
    try:
        with torch.no_grad(), on_fastest_device(model) as place:
            for done, given in enumerate(feeds, 1):
                feed = feed_to(given, place)
                real = feed["attention_mask"].bool()
                model(**feed)
                progress(done)
    finally:
        for handle in handles:
            handle.remove()
    return {name: Gram(second[name].cpu().numpy(), first[name].cpu().numpy(), count[name]) for name in second}
