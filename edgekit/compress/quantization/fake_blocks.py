"""Weights in 4 bits by blocks in the forward pass of a language model, with straight-through gradients.

The grid is MatMulNBits': whole numbers from -8 to 7 of one scale for each block of a column. Scales are learned with the weights, as in LSQ
(Esser et al. 2020, arXiv 1902.08153), but for their logarithm, so that they keep their sign. What is left in the end are whole numbers of
these scales, which `edgekit.quantize.blocks` recognises, so nothing is rounded twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

__all__ = ["attach", "fake_blocks", "start_of"]

LOW, HIGH = -8, 7
SHARES = tuple(1 - 0.02 * number for number in range(21))
"""Of the scale that puts a block's largest weight on -8: where scales may start."""


def attach(modules: Sequence[torch.nn.Linear | Conv1D], block: int) -> None:
    """Have each of `modules` multiply with its weight on the grid, in place."""
    for module in modules:
        parametrize.register_parametrization(
            module, "weight", _Rounded(module.weight, block, turned=isinstance(module, Conv1D))
        )


def fake_blocks(weight: torch.Tensor, scale: torch.Tensor, block: int) -> torch.Tensor:
    """`weight` (out, in) on the grid of `scale` (out, blocks); the last block of a row need not be full."""
    rows, columns = weight.shape
    blocks = _in_blocks(weight, block)
    steps = blocks / scale[:, :, None]
    whole = (steps + (steps.round() - steps).detach()).clamp(LOW, HIGH)
    restored: torch.Tensor = (whole * scale[:, :, None]).reshape(rows, -1)[:, :columns]
    return restored


def start_of(weight: torch.Tensor, block: int) -> torch.Tensor:
    """(out, blocks): of the clipping candidates of each block of `weight` (out, in) the one of least squared error."""
    blocks = _in_blocks(weight.detach(), block)
    largest = blocks.gather(2, blocks.abs().argmax(dim=2, keepdim=True))[:, :, 0]
    largest = torch.where(largest.abs() < 1e-12, largest.new_tensor(1e-12), largest)
    best, scale = torch.full_like(largest, torch.inf), largest
    for share in SHARES:
        tried = largest / LOW * share
        whole = (blocks / tried[:, :, None]).round().clamp(LOW, HIGH)
        lost = (whole * tried[:, :, None] - blocks).square().sum(dim=2)
        best, scale = torch.minimum(lost, best), torch.where(lost < best, tried, scale)
    return scale


def _in_blocks(weight: torch.Tensor, block: int) -> torch.Tensor:
    """`weight` (out, in) as (out, blocks, block), filled up with zeros."""
    rows, columns = weight.shape
    return torch.nn.functional.pad(weight, (0, -columns % block)).reshape(rows, -1, block)


class _Rounded(torch.nn.Module):
    """weight -> the weight on its grid; `turned`: it is held as (in, out)."""

    sign: torch.Tensor

    def __init__(self, weight: torch.Tensor, block: int, *, turned: bool) -> None:
        super().__init__()
        start = start_of(weight.T if turned else weight, block)
        self.block, self.turned = block, turned
        self.size = torch.nn.Parameter(start.abs().log())
        self.register_buffer("sign", start.sign())

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        scale = self.sign * self.size.exp()
        return fake_blocks(weight.T, scale, self.block).T if self.turned else fake_blocks(weight, scale, self.block)
