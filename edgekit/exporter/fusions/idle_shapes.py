"""What only passes numbers on around attention, where the length is no token axis of an input: reshapes to heads and back, pairs of transpositions.

onnxscript removes them where it knows that sizes are the same; of frames, whose number is computed from that of samples, it does not.
"""

from __future__ import annotations

import onnx_ir as ir

from edgekit.onnx_graph.match import attributes, producer_of, same_shape

__all__ = ["drop_idle_shapes"]


def drop_idle_shapes(model: ir.Model) -> int:
    """Let what reads a reshaped or twice transposed tensor read the tensor itself, where it has the same shape; returns how often.

    Graphs of token ids are left as they are, in which the number of tokens is an input's axis.
    """
    graph, count = model.graph, 0
    if any(value.name == "input_ids" for value in graph.inputs):
        return 0
    for node in graph:
        if node.op_type == "MultiHeadAttention" and node.outputs[0].shape is None and node.inputs[0] is not None:
            node.outputs[0].type, node.outputs[0].shape = node.inputs[0].type, node.inputs[0].shape
    for node in list(graph):
        source = _same(node)
        if source is not None:
            node.outputs[0].replace_all_uses_with(source, replace_graph_outputs=True)
            count += 1
    return count


def _same(node: ir.Node) -> ir.Value | None:
    """A tensor that is what `node` makes; None where there is none."""
    if node.op_type == "Transpose" and (before := producer_of(node.inputs[0], "Transpose")) is not None:
        order, back = attributes(before).get("perm", ()), attributes(node).get("perm", ())
        undone = [order[place] for place in back] == list(range(len(order)))
        return before.inputs[0] if undone else None
    if node.op_type != "Reshape":
        return None
    value = node.inputs[0]
    while value is not None:
        if same_shape(value, node.outputs[0]):
            return value
        before = producer_of(value, "Reshape")
        value = before.inputs[0] if before is not None else None
    return None
