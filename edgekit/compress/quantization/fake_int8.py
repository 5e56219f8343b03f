"""Fake INT8 quantization: values rounded to the INT8 grid, with straight-through gradients.

Weights: symmetric, one scale an output. Inputs: asymmetric uint8 with a learned low and high end (LSQ+, Bhalgat et al. 2020,
arXiv 2004.09576, eqs. 1 to 4), in the same arithmetic as `edgekit.quantize.static`. Query, key and value read one tensor, which
has one range.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import torch
from torch.nn.utils import parametrize

from edgekit.models.anatomy import anatomy_of, layers_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["InputRange", "attach", "detach", "fake_input", "fake_weight"]


def fake_weight(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """`weight` (out, in) on a symmetric grid of `bits` bits, one scale a row."""
    most = 2 ** (bits - 1) - 1
    scale = weight.detach().abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / most
    grid: torch.Tensor = scale * _rounded(weight / scale).clamp(-most, most)
    return grid


def fake_input(values: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """`values` rounded to 256 steps from `low` to `high`, learned scalars that get gradients too."""
    low, high = low.clamp(max=0.0), high.clamp(min=1e-6)
    scale = (high - low) / 255
    zero = _rounded(-low / scale).clamp(0, 255)
    return (_rounded(values / scale + zero).clamp(0, 255) - zero) * scale


def _rounded(values: torch.Tensor) -> torch.Tensor:
    return values + (values.round() - values).detach()


class InputRange(torch.nn.Module):
    """A learned range of a Linear's inputs; until `settle` is called it only widens to the inputs it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.low = torch.nn.Parameter(torch.zeros(()))
        self.high = torch.nn.Parameter(torch.zeros(()))
        self.watching = True

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.watching:
            return fake_input(values, self.low, self.high)
        with torch.no_grad():
            self.low.copy_(torch.minimum(self.low, values.min()))
            self.high.copy_(torch.maximum(self.high, values.max()))
        return values

    def settle(self) -> None:
        """From now on values are rounded to the range."""
        self.watching = False


class _FakeWeight(torch.nn.Module):
    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return fake_weight(weight, self.bits)


def attach(model: PreTrainedModel, bits: int) -> dict[str, InputRange]:
    """Put fake quantizers on every Linear of `model`, in place; returns the range of each by its module path."""
    anatomy = anatomy_of(model)
    shared: dict[int, InputRange] = {}
    for layer in layers_of(model):
        if attrgetter(anatomy.attention_out)(layer).in_features == 0:
            continue  # all its heads were removed, and their projections with them
        together = {id(attrgetter(path)(layer)) for path in (anatomy.query, anatomy.key, anatomy.value)}
        shared |= dict.fromkeys(together, InputRange())
    ranges = {}
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and module.in_features:
            ranges[name] = module.input_range = shared.get(id(module)) or InputRange()
            module.register_forward_pre_hook(_on_input)
            parametrize.register_parametrization(module, "weight", _FakeWeight(bits))
    return ranges


def _on_input(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    input_range = getattr(module, "input_range", None)
    return inputs if input_range is None else (input_range(inputs[0]), *inputs[1:])


def detach(model: PreTrainedModel) -> None:
    """Take the fake quantizers off, in place; weights stay as trained, unrounded."""
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
            del module.input_range
