"""The hidden size of an encoder reduced in place, in every module that reads or writes hidden states.

Heads keep their size, so the hidden size need not be a multiple of their number. What transformers builds from such a configuration
would have heads of another size: `built` in the configuration of a narrowed checkpoint holds the sizes to build the model with,
before it is narrowed and its weights are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

import torch

from edgekit.errors import BadInput
from edgekit.models.anatomy import anatomy_of, layers_of
from edgekit.models.embedding import NAME, Embedding
from edgekit.models.shapes import BiasOnly

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["build_sizes", "hidden_size_of", "narrow"]

SIZES = ("hidden_size", "embedding_size", "pooler_hidden_size")
"""Fields of a configuration that may hold the hidden size; a field with another value is another size and stays."""
OUTPUTS = ("classifier", "out_proj", "qa_outputs")
"""Names of the Linears whose outputs are the task's logits."""


def hidden_size_of(model: PreTrainedModel) -> int:
    """Length of a hidden state."""
    return int(model.config.hidden_size)


def narrow(model: PreTrainedModel, kept: Sequence[int]) -> None:
    """Keep only the dimensions `kept` of the hidden states, in their order, in place; the configuration follows.

    Raises:
        BadInput: a dimension that does not exist or is listed twice, none at all, or a model with a convolution over hidden states.
    """
    full, anatomy = hidden_size_of(model), anatomy_of(model)
    if not kept or len(set(kept)) < len(kept) or not all(0 <= number < full for number in kept):
        raise BadInput(f"{len(kept)} dimensions do not narrow a model of hidden size {full}", where="compress, width")
    if any(isinstance(module, torch.nn.Conv1d) for module in model.modules()):
        raise BadInput(
            f"this {model.config.model_type} has a convolution over hidden states, which is not narrowed", where="compress, width",
            fix="leave `width` out",
        )  # fmt: skip
    chosen, inside = torch.tensor(list(kept)), set()
    for layer in layers_of(model):
        inside |= {id(module) for module in layer.modules()}
        for path in {anatomy.query, anatomy.key, anatomy.value, *anatomy.positions, anatomy.up}:
            _keep_inputs(_module(layer, path), chosen)
        for path in (anatomy.attention_out, anatomy.down):
            _keep_outputs(attrgetter(path)(layer), chosen)
        for path in filter(None, (anatomy.attention_norm, anatomy.output_norm, anatomy.input_norm)):
            _keep_norm(attrgetter(path)(layer), chosen)
    for name, module in model.named_modules():
        if id(module) in inside or name.startswith(f"{NAME}."):
            continue
        if isinstance(module, torch.nn.Embedding) and module.embedding_dim == full:
            module.weight = torch.nn.Parameter(module.weight.data[:, chosen])
            module.embedding_dim = len(chosen)
        elif isinstance(module, torch.nn.LayerNorm) and tuple(module.normalized_shape) == (full,):
            _keep_norm(module, chosen)
        elif isinstance(module, torch.nn.Linear):
            if module.in_features == full:
                _keep_inputs(module, chosen)
            if module.out_features == full and name.rpartition(".")[2] not in OUTPUTS:
                _keep_outputs(module, chosen)
    if isinstance(embedding := getattr(model, NAME, None), Embedding):
        embedding.narrow(kept, full)
    fields = [field for field in SIZES if getattr(model.config, field, None) == full]
    if not hasattr(model.config, "built"):
        model.config.built = dict.fromkeys(fields, full)
    for field in fields:
        setattr(model.config, field, len(chosen))


def build_sizes(config: PreTrainedConfig, where: str) -> list[int] | None:
    """Give `config` of a narrowed checkpoint the sizes to build it with; returns what `narrow` then keeps, None for other checkpoints.

    Raises:
        BadInput: `built` does not hold the sizes of a wider model.
    """
    built = getattr(config, "built", None)
    if built is None:
        return None
    narrowed = config.hidden_size
    sound = isinstance(built, dict) and "hidden_size" in built and set(built) <= set(SIZES)
    if not sound or any(type(value) is not int or value != built["hidden_size"] for value in built.values()):
        raise BadInput(f"built = {built!r} is not {', '.join(SIZES)} in one whole number", where=where)
    if not narrowed <= built["hidden_size"] < 1_000_000:
        raise BadInput(f"a model of hidden size {narrowed} is not narrowed from {built['hidden_size']}", where=where)
    for field, value in built.items():
        setattr(config, field, value)
    return list(range(narrowed))


def _module(layer: torch.nn.Module, path: str) -> torch.nn.Module | None:
    """The module at `path`; None where a layer lost its attention, or its configuration has no such module."""
    parent, _, name = path.rpartition(".")
    return getattr(attrgetter(parent)(layer) if parent else layer, name, None)


def _keep_inputs(module: torch.nn.Module | None, chosen: torch.Tensor) -> None:
    """Keep some inputs of a Linear; what is in its place where all neurons or heads were removed has none."""
    if isinstance(module, torch.nn.Linear):
        module.weight = torch.nn.Parameter(module.weight.data[:, chosen])
        module.in_features = len(chosen)


def _keep_outputs(module: torch.nn.Linear | BiasOnly, chosen: torch.Tensor) -> None:
    """Keep some outputs of a Linear, or of the bias that remains of one."""
    if isinstance(module, torch.nn.Linear):
        module.weight = torch.nn.Parameter(module.weight.data[chosen])
    if module.bias is not None:
        module.bias = torch.nn.Parameter(module.bias.data[chosen])
    module.out_features = len(chosen)


def _keep_norm(module: torch.nn.Module, chosen: torch.Tensor) -> None:
    """Keep some dimensions of a normalisation; the first layer's may be an Identity."""
    if isinstance(module, torch.nn.LayerNorm):
        for name in ("weight", "bias"):
            if getattr(module, name) is not None:
                setattr(module, name, torch.nn.Parameter(getattr(module, name).data[chosen]))
        module.normalized_shape = (len(chosen),)
