"""Second moments of the inputs of linear modules over calibration texts: X'X and column sums, over real tokens only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.compress.pruning.observe import Look, observe
from edgekit.errors import BadInput
from edgekit.models.device import Feed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Gram", "grams", "real_tokens"]


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
    """Number of tokens of `feeds` that are not padding.

    Raises:
        BadInput: there are none, or a text has none.
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
    model: PreTrainedModel,
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

    def add_to(name: str) -> Look:
        def add(values: torch.Tensor, real: torch.Tensor) -> None:
            rows = values.flatten(0, -2)
            if values.shape[:-1] == real.shape:  # else not one input a token, such as tables of relative positions
                rows = rows[real.flatten()]
            size = rows.shape[1]
            second.setdefault(name, torch.zeros(size, size, dtype=torch.float64, device=rows.device)).add_(rows.T @ rows)
            first.setdefault(name, torch.zeros(size, dtype=torch.float64, device=rows.device)).add_(
                rows.sum(dim=0, dtype=torch.float64)
            )
            count[name] += len(rows)

        return add

    observe(model, feeds, inputs={module: add_to(name) for name, module in modules.items()}, progress=progress)
    return {name: Gram(second[name].cpu().numpy(), first[name].cpu().numpy(), count[name]) for name in second}
