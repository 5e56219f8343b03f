"""The shape of each layer, read off a model and changed physically: heads, neurons, whole layers.

A layer without heads keeps what its attention block adds then: the bias of the output projection. A layer without neurons
likewise. Both stay ordinary modules, so such a model trains and exports like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch

from edgekit.errors import BadInput
from edgekit.models.anatomy import Anatomy, anatomy_of, layers_of

__all__ = ["LayerShape", "cut", "keep_layers", "layer_count", "resize", "shapes_of"]


@dataclass(frozen=True)
class LayerShape:
    """Heads, numbers in a head, and neurons of the feed-forward block."""

    heads: int
    head_size: int
    neurons: int


class NoAttention(torch.nn.Module):
    """Stands where all heads were removed: an output of zero width, so that the projection after it adds its bias alone."""

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.num_attention_heads = 0
        self.attention_head_size = head_size
        self.all_head_size = 0

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        return hidden_states, None


class BiasOnly(torch.nn.Module):
    """A Linear whose inputs were all removed: (batch, sequence, any) -> (batch, sequence, out) of its bias."""

    def __init__(self, out_features: int) -> None:
        super().__init__()
        self.in_features = 0
        self.out_features = out_features
        self.bias = torch.nn.Parameter(torch.zeros(out_features))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.bias.expand(*inputs.shape[:-1], self.out_features)


def layer_count(model: Any) -> int:
    """How many encoder layers the model has."""
    return len(layers_of(model))


def shapes_of(model: Any) -> list[LayerShape]:
    """The shape of every layer, first to last."""
    anatomy = anatomy_of(model)
    shapes = []
    for layer in layers_of(model):
        attention = attrgetter(anatomy.attention)(layer)
        down = attrgetter(anatomy.down)(layer)
        shapes.append(LayerShape(int(attention.num_attention_heads), int(attention.attention_head_size), int(down.in_features)))
    return shapes


def keep_layers(model: Any, indices: Sequence[int]) -> None:
    """Remove all layers but those at `indices`, in their order; the model's configuration follows.

    Raises:
        BadInput: a layer that does not exist, or none at all.
    """
    layers = layers_of(model)
    wrong = [index for index in indices if not 0 <= index < len(layers)]
    if wrong or not indices:
        raise BadInput(f"layers {wrong or 'none'} of a model with {len(layers)}", where="compress")
    kept = torch.nn.ModuleList([layers[index] for index in sorted(indices)])
    parent, _, name = anatomy_of(model).layers.rpartition(".")
    setattr(attrgetter(parent)(model), name, kept)
    model.config.num_hidden_layers = len(kept)


def cut(model: Any, heads: Sequence[Sequence[int]], neurons: Sequence[Sequence[int]]) -> None:
    """Keep only the named heads and neurons of each layer, physically; weights of the rest are gone."""
    anatomy = anatomy_of(model)
    for layer, kept_heads, kept_neurons in zip(layers_of(model), heads, neurons, strict=True):
        size = attrgetter(anatomy.attention)(layer).attention_head_size
        rows = [head * size + offset for head in kept_heads for offset in range(size)]
        for path in (anatomy.query, anatomy.key, anatomy.value) if kept_heads else ():
            _put(layer, path, _linear(attrgetter(path)(layer), rows=rows))
        _put(layer, anatomy.attention_out, _linear(attrgetter(anatomy.attention_out)(layer), columns=rows))
        _set_heads(layer, anatomy, len(kept_heads))
        if kept_neurons:
            _put(layer, anatomy.up, _linear(attrgetter(anatomy.up)(layer), rows=kept_neurons))
        else:
            _put(layer, anatomy.up, torch.nn.Identity())
        _put(layer, anatomy.down, _linear(attrgetter(anatomy.down)(layer), columns=kept_neurons))


def resize(model: Any, shapes: Sequence[LayerShape]) -> None:
    """Give each layer the shape it has in a pruned checkpoint, with fresh weights that are loaded afterwards.

    Raises:
        BadInput: shapes that this model cannot be cut to.
    """
    have = shapes_of(model)
    if len(shapes) > len(have):
        raise BadInput(f"{len(shapes)} layer shapes for a model of {len(have)} layers", where="edgekit.json")
    for wanted, full in zip(shapes, have, strict=False):
        if not (0 <= wanted.heads <= full.heads and 0 <= wanted.neurons <= full.neurons and wanted.head_size == full.head_size):
            raise BadInput(f"a layer of {wanted} cannot come from one of {full}", where="edgekit.json")
    keep_layers(model, range(len(shapes)))
    cut(model, [range(shape.heads) for shape in shapes], [range(shape.neurons) for shape in shapes])


def _set_heads(layer: Any, anatomy: Anatomy, heads: int) -> None:
    attention = attrgetter(anatomy.attention)(layer)
    if heads == 0:
        _put(layer, anatomy.attention, NoAttention(attention.attention_head_size))
        return
    attention.num_attention_heads = heads
    attention.all_head_size = heads * attention.attention_head_size


def _linear(old: Any, *, rows: Sequence[int] | None = None, columns: Sequence[int] | None = None) -> torch.nn.Module:
    """`old` with only some outputs (`rows`) or inputs (`columns`)."""
    if columns is not None and len(columns) == 0:
        bias = BiasOnly(old.out_features)
        bias.bias.data.copy_(old.bias.data)
        return bias
    if isinstance(old, BiasOnly):
        return old
    weight, bias_values = old.weight.data, old.bias.data
    if rows is not None:
        weight, bias_values = weight[list(rows)], bias_values[list(rows)]
    if columns is not None:
        weight = weight[:, list(columns)]
    new = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    new.weight.data.copy_(weight)
    new.bias.data.copy_(bias_values)
    return new


def _put(layer: Any, path: str, module: torch.nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(attrgetter(parent)(layer) if parent else layer, name, module)
