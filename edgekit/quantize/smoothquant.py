"""SmoothQuant: what makes an activation hard to quantize, moved into the weights that read it (Xiao 2022, arXiv 2211.10438).

Y = (X diag(s)^-1)(diag(s) W) with s_j = max|X_j|^a / max|W_j|^(1-a) (equation 4) for any s, so the float32 graph computes what
it did. diag(s)^-1 goes where it costs nothing:

- into the scale and bias of the normalisation that makes X. A post-norm encoder (BERT) also adds X to the next sum; that
  reader gets X back through one Mul, two a layer. A pre-norm encoder pays nothing.
- into the columns of the linear layer that makes X, where what lies between is the same for every positive factor of a channel:
  a bias, a ReLU, or the values of an attention, whose output mixes tokens and never channels.

GELU and tanh are neither, so the linear layer after one is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.errors import BadInput
from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.linear import LinearNode, linear_nodes
from edgekit.onnx_graph.match import attributes, takes_tokens
from edgekit.quantize.observe import Feed, channel_extremes

__all__ = ["migration", "smooth"]

NORMS = {
    "LayerNormalization": 1,
    "SimplifiedLayerNormalization": 1,
    "SkipLayerNormalization": 2,
    "SkipSimplifiedLayerNormalization": 2,
}
"""Normalisations, and which input is their scale."""
BIASED = {"LayerNormalization", "SkipLayerNormalization"}
"""Those whose input after the scale is added to the result."""


@dataclass(frozen=True)
class _Part:
    """A constant, input `index` of `node`, whose `axis` counts channels."""

    node: ir.Node
    index: int
    axis: int = 0


def smooth(model: ir.Model, alpha: float, feeds: Sequence[Feed]) -> dict[str, int]:
    """Smooth fused float32 `model` in place; returns how many normalisations and linear paths took a factor, and how many
    tensors are multiplied back for other readers.

    `alpha` in [0, 1]: at 1 every channel of the activation reaches 1, at 0 every row of the weights does; between, both share.

    Raises:
        BadInput: alpha out of range, no calibration rows with tokens, or nothing in the graph that can be smoothed.
    """
    if not 0 <= alpha <= 1:
        raise BadInput(f"alpha {alpha:g} is not between 0 and 1", where="quantize, smooth")
    graph = model.graph
    readers: dict[ir.Value, list[LinearNode]] = {}
    for linear in linear_nodes(graph):
        value = linear.node.inputs[0]
        assert value is not None, "linear_nodes reads it"
        readers.setdefault(value, []).append(linear)
    folds = {value: fold for value in readers if not value.is_graph_output() and (fold := _fold(value)) is not None}
    if not folds:
        raise BadInput(
            "no linear layer stands behind a normalisation or a linear path", where="quantize, smooth", fix="leave smooth out"
        )
    extremes = channel_extremes(model, [str(value.name) for value in folds], feeds)
    counts = {"norms": 0, "linears": 0, "restored": 0}
    for value, parts in folds.items():
        weights = [_Part(linear.node, 1, 0 if _out_axis(linear.node) else 1) for linear in readers[value]]
        largest = np.max([np.abs(_array(part)).max(axis=1 - part.axis) for part in weights], axis=0)
        factor = migration(extremes[str(value.name)], largest, alpha)
        counts["restored"] += _restore(graph, value, factor, {part.node for part in weights})
        for part in parts:
            _scale(graph, part, 1 / factor)
        for part in weights:
            _scale(graph, part, factor)
        counts["norms" if parts[0].node.op_type in NORMS else "linears"] += 1
    return counts


def migration(activation: np.ndarray, weight: np.ndarray, alpha: float) -> np.ndarray:
    """s float32 (channels,) of equation 4 from max|X_j| and max|W_j|; 1 where either is zero, as nothing can move then."""
    activation, weight = activation.astype(np.float64), weight.astype(np.float64)
    alive = (activation > 0) & (weight > 0)
    found = np.ones(activation.shape)
    found[alive] = activation[alive] ** alpha / weight[alive] ** (1 - alpha)
    return np.asarray(np.clip(found, 1e-5, 1e5), dtype=np.float32)


def _out_axis(node: ir.Node) -> int:
    """The axis of a linear layer's stored weight along which output columns lie."""
    return 0 if node.op_type == "Gemm" and attributes(node).get("transB", 0) else 1


def _fold(value: ir.Value) -> list[_Part] | None:
    """The constants to divide by s so that `value` is divided by it; None where there are none."""
    node = value.producer()
    if node is None or value is not node.outputs[0]:
        return None
    if _is_choice(node):
        states = node.inputs[0]
        return _fold(states) if states is not None and len(states.uses()) == 1 and not states.is_graph_output() else None
    if node.op_type in NORMS:
        first = NORMS[node.op_type]
        found = [_Part(node, first)]
        if node.op_type in BIASED and len(node.inputs) > first + 1 and node.inputs[first + 1] is not None:
            found.append(_Part(node, first + 1))
        return found if all(array_of(part.node.inputs[part.index]) is not None for part in found) else None
    if node.op_type == "MultiHeadAttention":
        return _linear(node.inputs[2]) if len(node.inputs) < 4 or node.inputs[3] is None else None
    return _linear(node.inputs[0]) if node.op_type == "Relu" else None


def _is_choice(node: ir.Node) -> bool:
    """Whether `node` takes some tokens of hidden states (batch, tokens, width), whose channels stay what they are."""
    states = node.inputs[0] if takes_tokens(node) else None
    return states is not None and states.shape is not None and len(states.shape) == 3


def _linear(value: ir.Value | None) -> list[_Part] | None:
    """Weight and bias of the linear layer that makes `value`, which one node alone reads."""
    node = value.producer() if value is not None else None
    if value is None or node is None or len(value.uses()) != 1 or value.is_graph_output():
        return None
    if node.op_type == "Add":
        for index in (0, 1):
            before = _linear(node.inputs[1 - index]) if _is_vector(node.inputs[index]) else None
            if before is not None:
                return [*before, _Part(node, index)]
        return None
    weight = array_of(node.inputs[1]) if node.op_type in {"MatMul", "Gemm"} else None
    if weight is None or weight.ndim != 2 or array_of(node.inputs[0]) is not None:
        return None
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return [_Part(node, 1, _out_axis(node))]
    return [_Part(node, 1, _out_axis(node)), _Part(node, 2)] if _is_vector(node.inputs[2]) else None


def _is_vector(value: ir.Value | None) -> bool:
    array = array_of(value)
    return array is not None and array.ndim == 1 and array.size > 1


def _array(part: _Part) -> np.ndarray:
    array = array_of(part.node.inputs[part.index])
    assert array is not None, "checked where the part was found"
    return array


def _scale(graph: ir.Graph, part: _Part, factor: np.ndarray) -> None:
    """Multiply along the part's axis, in a copy of its own: layers may share a constant (ALBERT)."""
    values = _array(part)
    shaped = factor if values.ndim == 1 else np.expand_dims(factor, 1 - part.axis)
    name = f"{part.node.name or part.node.outputs[0].name}.smooth{part.index}"
    part.node.replace_input_with(part.index, add_initializer(graph, name, (values * shaped).astype(np.float32)))


def _restore(graph: ir.Graph, value: ir.Value, factor: np.ndarray, linears: set[ir.Node]) -> int:
    """Let every reader of `value` but `linears` read value * s; returns whether there was one."""
    others = [(node, index) for node, index in value.uses() if node not in linears]
    producer = value.producer()
    if not others or producer is None:
        return 0
    whole = ir.node("Mul", [value, add_initializer(graph, f"{value.name}.smooth", factor)], name=f"{value.name}.restore")
    graph.insert_after(producer, whole)
    for node, index in others:
        node.replace_input_with(index, whole.outputs[0])
    return 1
