"""The width of a model cut physically: the numbers that stand for a token between layers, in every module that reads or writes them.

Heads keep their size, so the width need not divide by their number. What transformers builds from a configuration has other
heads then: `built` in the configuration of a narrowed checkpoint says what to build before it is narrowed and filled again.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import torch

from edgekit.errors import BadInput
from edgekit.models.anatomy import anatomy_of, layers_of

__all__ = ["as_built", "narrow", "width_of"]

WIDTHS = ("hidden_size", "embedding_size", "pooler_hidden_size")
"""Fields of a configuration that may hold the width; where one holds another number it is no part of it."""
ANSWERS = ("classifier", "out_proj", "qa_outputs")
"""Last names of the Linears whose outputs are the task's answer."""


def width_of(model: Any) -> int:
    """Numbers that stand for a token between layers."""
    return int(model.config.hidden_size)


def narrow(model: Any, kept: Sequence[int]) -> None:
    """Keep only the numbers `kept` of each token's state, in their order, in place; the configuration follows.

    Raises:
        BadInput: a number that does not exist or stands twice, none at all, or a model with a convolution over states.
    """
    full, anatomy = width_of(model), anatomy_of(model)
    if not kept or len(set(kept)) < len(kept) or not all(0 <= number < full for number in kept):
        raise BadInput(f"{len(kept)} numbers do not narrow a model of width {full}", where="compress, width")
    if any(isinstance(module, torch.nn.Conv1d) for module in model.modules()):
        raise BadInput(
            f"this {model.config.model_type} has a convolution over states, which is not narrowed", where="compress, width",
            fix="leave the width as it is",
        )  # fmt: skip
    chosen, inside = torch.tensor(list(kept)), set()
    for layer in layers_of(model):
        inside |= {id(module) for module in layer.modules()}
        for path in {anatomy.query, anatomy.key, anatomy.value, *anatomy.positions, anatomy.up}:
            _columns(_part(layer, path), chosen)
        for path in (anatomy.attention_out, anatomy.down):
            _rows(attrgetter(path)(layer), chosen)
        for path in filter(None, (anatomy.attention_norm, anatomy.output_norm, anatomy.input_norm)):
            _norm(attrgetter(path)(layer), chosen)
    for name, module in model.named_modules():
        if id(module) in inside:
            continue
        if isinstance(module, torch.nn.Embedding) and module.embedding_dim == full:
            module.weight = torch.nn.Parameter(module.weight.data[:, chosen])
            module.embedding_dim = len(chosen)
        elif isinstance(module, torch.nn.LayerNorm) and tuple(module.normalized_shape) == (full,):
            _norm(module, chosen)
        elif isinstance(module, torch.nn.Linear):
            if module.in_features == full:
                _columns(module, chosen)
            if module.out_features == full and name.rpartition(".")[2] not in ANSWERS:
                _rows(module, chosen)
    fields = [field for field in WIDTHS if getattr(model.config, field, None) == full]
    if not hasattr(model.config, "built"):
        model.config.built = dict.fromkeys(fields, full)
    for field in fields:
        setattr(model.config, field, len(chosen))


def as_built(config: Any, where: str) -> list[int] | None:
    """Give `config` of a narrowed checkpoint the widths to build it with; returns what `narrow` then keeps, None for others.

    Raises:
        BadInput: `built` is not the widths of a wider model.
    """
    built = getattr(config, "built", None)
    if built is None:
        return None
    width = config.hidden_size
    sound = isinstance(built, dict) and "hidden_size" in built and set(built) <= set(WIDTHS)
    if not sound or any(type(value) is not int or value != built["hidden_size"] for value in built.values()):
        raise BadInput(f"built = {built!r} is not {', '.join(WIDTHS)} in one whole number", where=where)
    if not width <= built["hidden_size"] < 1_000_000:
        raise BadInput(f"a model of width {width} is not narrowed from {built['hidden_size']}", where=where)
    for field, value in built.items():
        setattr(config, field, value)
    return list(range(width))


def _part(layer: Any, path: str) -> Any:
    """The module at `path`; None where a layer lost its attention, or its configuration has no such part."""
    parent, _, name = path.rpartition(".")
    return getattr(attrgetter(parent)(layer) if parent else layer, name, None)


def _columns(module: Any, chosen: torch.Tensor) -> None:
    """Keep some inputs of a Linear; what stands where all neurons or heads were removed has none."""
    if isinstance(module, torch.nn.Linear):
        module.weight = torch.nn.Parameter(module.weight.data[:, chosen])
        module.in_features = len(chosen)


def _rows(module: Any, chosen: torch.Tensor) -> None:
    """Keep some outputs of a Linear, or of the bias that is left of one."""
    if isinstance(module, torch.nn.Linear):
        module.weight = torch.nn.Parameter(module.weight.data[chosen])
    if module.bias is not None:
        module.bias = torch.nn.Parameter(module.bias.data[chosen])
    module.out_features = len(chosen)


def _norm(module: Any, chosen: torch.Tensor) -> None:
    """Keep some numbers of a normalisation; the first layer's may be an Identity."""
    if isinstance(module, torch.nn.LayerNorm):
        for name in ("weight", "bias"):
            if getattr(module, name) is not None:
                setattr(module, name, torch.nn.Parameter(getattr(module, name).data[chosen]))
        module.normalized_shape = (len(chosen),)
