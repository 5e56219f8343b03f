"""The shape of each layer, read off a model and changed physically: heads, neurons, whole layers.

A layer whose heads were all removed still adds the bias of its attention's output projection, where there is one; a layer without
neurons likewise the bias of its second linear. Both stay ordinary modules, so such a model trains and exports like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import torch

from edgekit.errors import BadInput
from edgekit.models.anatomy import REFUSED, Anatomy, anatomy_of, head_size_of, layers_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["LayerShape", "cut", "input_module", "keep_layers", "layer_count", "resize", "shapes_of"]


@dataclass(frozen=True)
class LayerShape:
    """Attention heads, their size, and neurons of the feed-forward block (its intermediate size)."""

    heads: int
    head_size: int
    neurons: int


class NoAttention(torch.nn.Module):
    """Replaces an attention module whose heads were all removed: (batch, sequence, hidden) -> (batch, sequence, hidden).

    Where the output projection, of which the bias remains, is inside the attention module, its output; else the input unchanged.
    """

    def __init__(self, old: torch.nn.Module, anatomy: Anatomy) -> None:
        super().__init__()
        setattr(self, anatomy.head_size, getattr(old, anatomy.head_size))
        for name in (anatomy.heads, anatomy.all_heads):
            if name is not None:
                setattr(self, name, 0)
        within = anatomy.attention_out.startswith(f"{anatomy.attention}.")
        self.projection = anatomy.attention_out.removeprefix(f"{anatomy.attention}.") if within else None
        if self.projection is not None:
            setattr(self, self.projection, getattr(old, self.projection))

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor, None]:
        return (hidden_states if self.projection is None else getattr(self, self.projection)(hidden_states)), None


class BiasOnly(torch.nn.Module):
    """A Linear whose inputs were all removed: (batch, sequence, any) -> (batch, sequence, out) of its bias, or of zeros."""

    def __init__(self, old: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features = 0
        self.out_features = old.out_features
        self.bias = None if old.bias is None else torch.nn.Parameter(old.bias.data.clone())
        self.register_buffer(
            "zero", torch.zeros(()), persistent=False
        )  # made in the graph, it is an operator that no bundle holds

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        bias: torch.Tensor = self.zero if self.bias is None else self.bias
        return bias.expand(*inputs.shape[:-1], self.out_features)


def input_module(model: PreTrainedModel) -> torch.nn.Module:
    """What a model reads its inputs with: its table of token embeddings, the embedding of patches, or the convolutions over samples."""
    convolutions = getattr(model.base_model, "feature_extractor", None)
    if isinstance(convolutions, torch.nn.Module):
        return convolutions
    table: torch.nn.Module = model.get_input_embeddings()
    return table


def layer_count(model: PreTrainedModel) -> int:
    """How many encoder layers the model has; of one whose layers are not reshaped here, by its configuration."""
    if model.config.model_type in REFUSED:
        return int(getattr(model.config, "vision_config", model.config).num_hidden_layers)
    return len(layers_of(model))


def shapes_of(model: PreTrainedModel) -> list[LayerShape]:
    """The shape of every layer, first to last."""
    anatomy = anatomy_of(model)
    shapes = []
    for layer in layers_of(model):
        out, down = attrgetter(anatomy.attention_out)(layer), attrgetter(anatomy.down)(layer)
        size = head_size_of(model, layer)
        shapes.append(LayerShape(_inputs(out) // size, size, _inputs(down)))
    return shapes


def keep_layers(model: PreTrainedModel, indices: Sequence[int]) -> None:
    """Remove all layers but those at `indices`, in their order; the model's configuration follows.

    Raises:
        BadInput: a layer that does not exist, or none at all.
    """
    layers = layers_of(model)
    wrong = [index for index in indices if not 0 <= index < len(layers)]
    if wrong or not indices:
        raise BadInput(f"layers {wrong or 'none'} of a model with {len(layers)}", where="compress")
    anatomy, order = anatomy_of(model), sorted(indices)
    kept = torch.nn.ModuleList([layers[index] for index in order])
    if order[0] > 0 and anatomy.input_norm and not anatomy.first_norm:
        _become_first(kept[0], anatomy)
    _put(model.base_model, anatomy.layers, kept)
    weights = getattr(model, "layer_weights", None)
    if weights is not None:  # a head that reads the sum of what enters the first layer and of what each gives
        model.layer_weights = torch.nn.Parameter(weights.data[[0, *(index + 1 for index in order)]].clone())
    getattr(model.config, "vision_config", model.config).num_hidden_layers = len(kept)
    kinds = getattr(model.config, "layer_types", None)
    if kinds is not None:
        model.config.layer_types = [kinds[index] for index in order]


def cut(model: PreTrainedModel, heads: Sequence[Sequence[int]], neurons: Sequence[Sequence[int]]) -> None:
    """Keep only the heads and neurons of each layer that are numbered, in place; the weights of the rest are gone."""
    anatomy = anatomy_of(model)
    for layer, kept_heads, kept_neurons in zip(layers_of(model), heads, neurons, strict=True):
        _cut_heads(model, layer, anatomy, sorted(kept_heads))
        down = attrgetter(anatomy.down)(layer)
        if kept_neurons:
            gates = [_inputs(down) + neuron for neuron in kept_neurons] if anatomy.gated else []
            _put(layer, anatomy.up, _linear(attrgetter(anatomy.up)(layer), rows=[*kept_neurons, *gates]))
        else:
            _put(layer, anatomy.up, torch.nn.Identity())
        _put(layer, anatomy.down, _linear(down, columns=kept_neurons))


def resize(model: PreTrainedModel, shapes: Sequence[LayerShape]) -> None:
    """Give each layer the shape it has in a pruned checkpoint, with new weights that are overwritten afterwards.

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


def _cut_heads(model: PreTrainedModel, layer: torch.nn.Module, anatomy: Anatomy, kept: list[int]) -> None:
    attention, out = attrgetter(anatomy.attention)(layer), attrgetter(anatomy.attention_out)(layer)
    size, before = head_size_of(model, layer), _inputs(out)
    rows = [head * size + offset for head in kept for offset in range(size)]
    _put(layer, anatomy.attention_out, _linear(out, columns=rows))
    if not kept:
        _put(layer, anatomy.attention, NoAttention(attention, anatomy))
        return
    if anatomy.packed:
        packed = [part * before + row for part in range(3) for row in rows]
        _put(layer, anatomy.query, _linear(attrgetter(anatomy.query)(layer), rows=packed))
    else:
        for path in (anatomy.query, anatomy.key, anatomy.value, *anatomy.positions):
            if hasattr(attention, path.rpartition(".")[2]):
                _put(layer, path, _linear(attrgetter(path)(layer), rows=rows))
    if anatomy.shared_bias and len(rows) < before:
        _keep_bias_heads(attention, kept, before // size)
    for name, value in ((anatomy.heads, len(kept)), (anatomy.all_heads, len(rows))):
        if name is not None:
            setattr(attention, name, value)


def _keep_bias_heads(attention: torch.nn.Module, kept: list[int], before: int) -> None:
    """Let a layer with fewer heads add its own heads of the shared position bias; their numbers are saved with the weights."""
    planes = getattr(attention, "position_planes", None)
    if planes is None:
        planes = torch.arange(before)
        attention.register_forward_pre_hook(_own_bias_heads)
    attention.register_buffer("position_planes", planes[kept].clone())


def _own_bias_heads(attention: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    hidden_states, mask, bias, *rest = inputs
    return (hidden_states, mask, bias[:, attention.get_buffer("position_planes")], *rest)


def _become_first(layer: torch.nn.Module, anatomy: Anatomy) -> None:
    """Remove the input norm, as the architecture has none in a first layer; its scale moves into the projection after it."""
    norm = attrgetter(anatomy.input_norm)(layer)
    projection = getattr(attrgetter(anatomy.attention)(layer), anatomy.query.rpartition(".")[2], None)
    if projection is not None:
        projection.weight.data.mul_(norm.weight.data)
    _put(layer, anatomy.input_norm, torch.nn.Identity())


def _inputs(linear: torch.nn.Linear | BiasOnly) -> int:
    return int(linear.in_features)


def _linear(
    old: torch.nn.Linear | BiasOnly, *, rows: Sequence[int] | None = None, columns: Sequence[int] | None = None
) -> torch.nn.Module:
    """`old` with only some outputs (`rows`) or inputs (`columns`)."""
    if isinstance(old, BiasOnly):
        return old
    if columns is not None and len(columns) == 0:
        return BiasOnly(old)
    weight, bias = old.weight.data, None if old.bias is None else old.bias.data
    if rows is not None:
        weight, bias = weight[list(rows)], None if bias is None else bias[list(rows)]
    if columns is not None:
        weight = weight[:, list(columns)]
    new = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    new.weight.data.copy_(weight)
    if bias is not None:
        new.bias.data.copy_(bias)
    return new


def _put(root: torch.nn.Module, path: str, module: torch.nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(attrgetter(parent)(root) if parent else root, name, module)
