"""Pruned weights that stay zero while the others are trained: set to zero again after each step, or masked in every forward pass.

Masked: the weight in use is M * (W + (alpha / rank) B A), a parametrization of the module. Without adapters it is masked training, in
which masked weights get no gradient (Zhu and Gupta 2017, arXiv 1710.01878, section 3). With them W is frozen, and the mask is applied
to the product too (MaskLoRA: Zimmer et al. 2023, arXiv 2312.15230): plain LoRA would fill the zeros when it is
merged. Masks are buffers, so that they are kept and resumed together with the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch.nn.utils import parametrize

from edgekit.compress.parametrized import fold
from edgekit.errors import BadInput
from edgekit.models.stack import LINEARS
from edgekit.train import lora
from edgekit.train.lora import find_targets

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgekit.config.recipe import TrainingSettings

__all__ = ["Prunes", "adapt", "attach", "drop_smallest", "kept_zeros", "masks_of"]

LEAST = 0.05
"""Share of zeros from which a weight counts as pruned; a weight that was only trained has none."""


def kept_zeros(model: PreTrainedModel) -> Callable[[], None]:
    """A function that sets the weights of pruned linear modules that are zero now to zero again, in place: call it after each step."""
    pruned = [(module.weight, module.weight.detach() != 0) for module in model.base_model.modules() if _is_pruned(module)]

    def again() -> None:
        with torch.no_grad():
            for number, (weight, kept) in enumerate(pruned):
                if kept.device != weight.device:  # training has moved the model
                    pruned[number] = weight, kept = weight, kept.to(weight.device)
                weight.mul_(kept)

    return again


def _is_pruned(module: torch.nn.Module) -> TypeGuard[torch.nn.Linear]:
    """Whether pruning left zeros in a linear module."""
    if not isinstance(module, LINEARS) or not module.weight.numel():
        return False
    return float((module.weight.detach() == 0).float().mean()) >= LEAST


def adapt(model: PreTrainedModel, settings: TrainingSettings, *, seed: int) -> Callable[[], None]:
    """Put the adapters that `settings` ask for into `model`, in place; returns the function that folds them in.

    Where pruning left zeros, adapters are masked, so that what is folded in is what was trained.

    Raises:
        BadInput: as `edgekit.train.lora.attach`; the function: a weight has grown to NaN or Inf.
    """
    assert settings.lora is not None, "the caller asks"
    names = find_targets(model, settings.lora_targets)
    if not any(_is_pruned(module) for module in model.base_model.modules()):
        lora.attach(model, settings.lora, settings.lora_alpha, names, seed=seed)
        return lambda: lora.merge(model)
    modules = [model.get_submodule(name) for name in find_targets(model, None)]
    attach(model, modules, rank=settings.lora, alpha=settings.lora_alpha, targets=names, seed=seed)
    return lambda: fold(modules)


class Prunes(torch.nn.Module):
    """How many pruning steps were made (-1: none yet): a buffer, kept with every epoch so that a resumed run prunes at the same steps."""

    count: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.tensor(-1))


class _Masked(torch.nn.Module):
    """weight (out, in) -> the weight in use."""

    mask: torch.Tensor

    def __init__(self, weight: torch.Tensor, rank: int, scale: float) -> None:
        super().__init__()
        pruned = float((weight == 0).float().mean()) >= LEAST
        self.register_buffer("mask", weight.detach() != 0 if pruned else torch.ones_like(weight, dtype=torch.bool))
        self.scale = scale
        self.A = torch.nn.Parameter(torch.empty(rank, weight.shape[1])) if rank else None
        self.B = torch.nn.Parameter(torch.zeros(weight.shape[0], rank)) if rank else None
        if self.A is not None:
            torch.nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        if self.A is not None and self.B is not None:
            weight = weight + self.scale * (self.B @ self.A)
        return weight * self.mask


def attach(
    model: PreTrainedModel,
    modules: Sequence[torch.nn.Linear],
    *,
    rank: int | None = None,
    alpha: float = 16.0,
    targets: Sequence[str] | None = None,
    seed: int = 0,
) -> None:
    """Mask the weights of `modules` of `model`, in place; nothing is masked yet but what pruning set to zero before.

    With a `rank`, those that `targets` names by the end of their path (None: all) get adapters; then only these and what is
    outside the encoder are trained.

    Raises:
        BadInput: a name that no linear module ends in, one that is not among `modules`, or a rank above what a module has.
    """
    adapted: set[int] = set()
    if rank is not None:
        named = [model.get_submodule(name) for name in find_targets(model, targets)]
        adapted = {id(module) for module in named}
        if not adapted <= {id(module) for module in modules}:
            raise BadInput("adapters on a module that is not pruned", where="compress, lora targets", fix="name the encoder's")
        most = min(min(module.get_parameter("weight").shape) for module in named)
        if rank > most:
            raise BadInput(
                f"rank {rank} for modules of rank {most}", where="compress, lora", fix=f"choose one from 1 to {most}"
            )
        for parameter in model.base_model.parameters():
            parameter.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in modules:
            own = rank if rank is not None and id(module) in adapted else 0
            parametrize.register_parametrization(module, "weight", _Masked(module.weight, own, alpha / max(own, 1)))


def masks_of(modules: Sequence[torch.nn.Linear]) -> list[torch.Tensor]:
    """The mask of each of `modules`, bool (out, in): what is set to False here is zero from now on."""
    return [module.parametrizations["weight"][0].mask for module in modules]  # type: ignore[union-attr, index]


def drop_smallest(modules: Sequence[torch.nn.Linear], sparsity: float, *, overall: bool) -> None:
    """Mask the round(sparsity * all) smallest weights in use, of all modules together or of each; what is masked stays so."""
    for group in [list(modules)] if overall else [[module] for module in modules]:
        with torch.no_grad():
            sizes = [module.weight.abs() for module in group]
            flat = torch.cat([size.flatten() for size in sizes])
            kept = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
            kept[flat.argsort(stable=True)[: round(sparsity * len(flat))]] = False
            parts = torch.split(kept, [size.numel() for size in sizes])
            for mask, part in zip(masks_of(group), parts, strict=True):
                mask &= part.view_as(mask)
