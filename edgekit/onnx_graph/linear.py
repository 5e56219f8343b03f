"""Linear layers in a graph: the MatMuls and Gemms with a constant weight, their biases, and the module each was exported from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.onnx_graph.initializers import array_of
from edgekit.onnx_graph.match import attributes
from edgekit.onnx_graph.operators import BIAS_INPUT

__all__ = ["LinearNode", "bias_add", "bias_input", "linear_nodes", "module_path"]


@dataclass(frozen=True)
class LinearNode:
    """A MatMul or Gemm of an activation with a constant weight, float32 (in, out); `bias` (out,) is Gemm's own."""

    node: ir.Node
    weight: np.ndarray
    bias: np.ndarray | None

    @property
    def name(self) -> str:
        """What the layer is called from one step of quantization to the next: its node's name."""
        return str(self.node.name or self.node.outputs[0].name)


def linear_nodes(graph: ir.Graph) -> list[LinearNode]:
    """All MatMuls and Gemms with a constant two-dimensional weight, in the graph's order.

    A Gemm that transposes its input or scales one of its terms is none of them.
    """
    found = []
    for node in graph:
        if node.op_type not in {"MatMul", "Gemm"}:
            continue
        weight = array_of(node.inputs[1])
        if weight is None or weight.ndim != 2 or array_of(node.inputs[0]) is not None:
            continue
        bias = None
        if node.op_type == "Gemm":
            options = attributes(node)
            if options.get("transA", 0) or options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0:
                continue
            weight = weight.T if options.get("transB", 0) else weight
            bias = array_of(node.inputs[2]) if len(node.inputs) > 2 else None
        found.append(LinearNode(node, np.ascontiguousarray(weight, dtype=np.float32), bias))
    return found


def bias_add(node: ir.Node) -> tuple[ir.Node, np.ndarray] | None:
    """(Add, bias (out,)) where an Add of a constant vector is all that reads `node`; else None."""
    uses = node.outputs[0].uses()
    if len(uses) != 1 or uses[0][0].op_type != "Add" or node.outputs[0].is_graph_output():
        return None
    add = uses[0][0]
    bias = array_of(next(item for item in add.inputs if item is not node.outputs[0]))
    return (add, bias) if bias is not None and bias.ndim == 1 else None


def bias_input(node: ir.Node) -> tuple[ir.Node, int]:
    """(the node that adds the constant bias of linear `node`, which input it is); (node, 2) where nothing does yet."""
    uses = node.outputs[0].uses()
    if node.op_type == "MatMul" and len(uses) == 1 and not node.outputs[0].is_graph_output():
        reader, position = uses[0]
        index = 1 - position if reader.op_type == "Add" else BIAS_INPUT.get(reader.op_type, -1) if position == 0 else -1
        if 0 <= index < len(reader.inputs) and (bias := array_of(reader.inputs[index])) is not None and bias.ndim == 1:
            return reader, index
    return node, 2


def module_path(node: ir.Node) -> str | None:
    """The path of the torch.nn.Linear that `node` was exported from, off its bias' or weight's name, if one says it."""
    holder, index = bias_input(node)
    bias = holder.inputs[index] if index < len(holder.inputs) else None
    for value, end in ((bias, ".bias"), (node.inputs[1], ".weight")):
        if value is not None and (value.name or "").endswith(end):
            return str(value.name).removesuffix(end)
    return None
