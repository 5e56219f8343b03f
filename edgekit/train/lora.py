"""Recovery with few trained weights: LoRA, W x + (alpha / rank) B A x with W frozen (Hu et al. 2021, arXiv 2106.09685, eq. 3).

`attach` puts peft's adapters into a model, `merge` folds them into plain weights again, so none of them is left in what is
saved or exported. B starts at zero: an attached model computes what it did before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from edgekit.errors import BadInput
from edgekit.models.module_paths import absent_endings, ends_in
from edgekit.models.stack import LINEARS, layer_linears, stack_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["attach", "find_targets", "merge"]


def find_targets(model: PreTrainedModel, targets: Sequence[str] | None) -> list[str]:
    """Full names of the linear modules that `targets` name by the end of their path; None: all of the layers or blocks.

    `"query"` names the query of every layer, `"layer.0.output.dense"` one projection.

    Raises:
        BadInput: a name that no linear module ends in, with the nearest that do; or none at all.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, LINEARS)]
    if targets is None:
        wanted = {id(module) for linears in layer_linears(stack_of(model)) for module in linears.values()}
        return [name for name, module in model.named_modules() if id(module) in wanted]
    absent = absent_endings(targets, names)
    faults = [f"{target!r}; nearest: {', '.join(nearest) or 'none'}" for target, nearest in absent.items()]
    if faults or not targets:
        last = sorted({name.rpartition(".")[2] for name in names})
        raise BadInput(
            "no linear module of that name in the model" if faults else "no module named to put LoRA on",
            where="compress, lora targets",
            faults=faults,
            fix=f"name modules by the end of their path, such as {', '.join(last)}",
        )
    return [name for name in names if any(ends_in(name, target) for target in targets)]


def attach(
    model: PreTrainedModel, rank: int, alpha: float, targets: Sequence[str] | None = None, *, seed: int = 0
) -> list[str]:
    """Put adapters on the named linear modules of `model`, in place; returns their full names.

    After it only the adapters and the head (all that is outside the stack of layers) are trained.

    Raises:
        BadInput: as `find_targets`; a rank below 1 or above what the smallest of the modules has; adapters are there already.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if hasattr(model, "peft_config"):
        raise BadInput("adapters are attached already", where="compress, lora", fix="merge them first")
    names = find_targets(model, targets)
    modules = [model.get_submodule(name) for name in names]
    most = min(min(module.get_parameter("weight").shape) for module in modules)
    if not 1 <= rank <= most:
        raise BadInput(f"rank {rank} for modules of rank {most}", where="compress, lora", fix=f"choose a rank from 1 to {most}")
    turned = not any(isinstance(module, torch.nn.Linear) for module in modules)  # GPT-2's, as (in, out)
    # A full path each, so that peft's own matching by ending cannot take in more.
    config = LoraConfig(r=rank, lora_alpha=1, lora_dropout=0.0, bias="none", target_modules=names, fan_in_fan_out=turned)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    for name in names:
        model.get_submodule(name).scaling["default"] = alpha / rank  # peft's configuration takes whole numbers only
    inside = {id(parameter) for parameter in model.base_model.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in inside:
            parameter.requires_grad_(True)
    return names


def merge(model: PreTrainedModel) -> None:
    """Fold all adapters into the weights they stand beside, in place; every parameter can be trained again.

    Raises:
        BadInput: there are none, or a merged weight is not finite.
    """
    from peft.tuners.lora import Linear

    found = [(name, module) for name, module in model.named_modules() if isinstance(module, Linear)]
    if not found:
        raise BadInput("no adapters to merge", where="compress, lora", fix="attach them first")
    for name, module in found:
        base = module.get_base_layer()
        weight = base.get_parameter("weight")
        weight.data += module.get_delta_weight("default").to(weight.dtype)
        if not torch.isfinite(weight).all():
            raise BadInput("an adapter has grown to NaN or Inf", where=name, fix="train with a lower learning rate or alpha")
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, base)
    del model.peft_config
    for parameter in model.parameters():
        parameter.requires_grad_(True)
