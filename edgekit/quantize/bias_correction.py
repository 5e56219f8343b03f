"""Bias correction: the mean error of rounded weights, taken off the bias (Nagel et al. 2019, arXiv 1906.04721, section 4.2).

A linear layer with weight error E = W_q - W gives x E too much, on average E[x] E for each output column (equation 15 there). The
paper derives E[x] from batch normalisation; an encoder has none, so it is measured over calibration rows of the float32 model.
It runs before quantization, on the float32 graph: biases stay exact numbers there and cost no node. It sets the mean of
each column right for the float32 model's own activations, and says nothing of the rest of the error: measure what it buys.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.linear import LinearNode, bias_input, linear_nodes
from edgekit.quantize.observe import Feed, channel_means

__all__ = ["correct_biases", "expected_error", "input_means"]


def input_means(model: ir.Model, feeds: Sequence[Feed]) -> dict[str, np.ndarray]:
    """E[x] float64 (in,) of every linear layer's input in float32 `model`, by the tensor's name, over the rows `feeds`.

    Raises:
        BadInput: no rows, rows of padding only, or an activation that is not finite.
    """
    return channel_means(model, sorted({_input(linear) for linear in linear_nodes(model.graph)}), feeds)


def correct_biases(
    model: ir.Model,
    restored: Callable[[np.ndarray], np.ndarray],
    means: Mapping[str, np.ndarray],
    *,
    keep: Collection[str] = (),
) -> dict[str, int]:
    """Correct the biases of float32 `model` in place; returns how many linear layers were corrected.

    `restored` gives the float32 weight (in, out) that quantization will leave of a weight; `means` are `input_means` of the
    same model. Linear layers named in `keep` stay in float32 and are not touched. One without a bias gets one.
    """
    linears = [linear for linear in linear_nodes(model.graph) if linear.name not in keep]
    shifts = [expected_error(means[_input(linear)], linear.weight, restored(linear.weight)) for linear in linears]
    for linear, shift in zip(linears, shifts, strict=True):
        _take_off(model.graph, linear.node, shift)
    return {"corrected": len(linears)}


def expected_error(mean: np.ndarray, weight: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """E[x W_q] - E[x W] for each output column, float64 (out,), from E[x] (in,) and both weights (in, out)."""
    return np.asarray(mean.astype(np.float64) @ (restored.astype(np.float64) - weight.astype(np.float64)))


def _input(linear: LinearNode) -> str:
    value = linear.node.inputs[0]
    assert value is not None, "linear_nodes reads it"
    return str(value.name)


def _take_off(graph: ir.Graph, node: ir.Node, shift: np.ndarray) -> None:
    """Subtract `shift` from the bias behind linear `node`, wherever the graph keeps it."""
    holder, index = bias_input(node)
    old = holder.inputs[index] if index < len(holder.inputs) else None
    bias = array_of(old)
    name = f"{node.name or node.outputs[0].name}.corrected"
    fixed = add_initializer(graph, name, ((0.0 if bias is None else bias.astype(np.float64)) - shift).astype(np.float32))
    if bias is not None:
        holder.replace_input_with(index, fixed)
    elif holder.op_type == "Gemm":
        holder.resize_inputs(3)
        holder.replace_input_with(2, fixed)
    else:
        made = node.outputs[0]
        add = ir.node("Add", [made, fixed], name=f"{name}.add")
        add.outputs[0].type, add.outputs[0].shape = made.type, made.shape
        ir.convenience.replace_all_uses_with(made, add.outputs[0], replace_graph_outputs=True)
        add.replace_input_with(0, made)
        add.outputs[0].name, made.name = made.name, f"{made.name}.unbiased"  # what reads it finds it under its name
        graph.insert_after(node, add)
