"""float32 in the place of bfloat16, in which ONNX Runtime's CPU provider keeps numbers and computes nothing."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

__all__ = ["float32_for_bfloat16"]


def float32_for_bfloat16(graph: ir.Graph) -> bool:
    """Change the graph so that it computes in float32 what it computes in bfloat16: weights and whatever is cast to bfloat16 are still rounded
    to it, sums are not. Returns whether there was anything to change."""
    changed = False
    for value in graph.initializers.values():
        if value.const_value is not None and value.const_value.dtype == ir.DataType.BFLOAT16:
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
            changed = True
    for node in graph:
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == ir.DataType.BFLOAT16:
                node.attributes[name] = ir.AttrTensor(name, ir.tensor(attribute.as_tensor().numpy().astype(np.float32)))
                changed = True
        if node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.BFLOAT16:
            _rounded_and_back(graph, node)
            changed = True
    for value in [*graph.initializers.values(), *(value for node in graph for value in node.outputs)]:
        if value.dtype == ir.DataType.BFLOAT16 and not _is_rounding(value):
            value.dtype = ir.DataType.FLOAT
    return changed


def _rounded_and_back(graph: ir.Graph, node: ir.Node) -> None:
    (rounded,), read = node.outputs, list(node.outputs[0].uses())
    back = ir.node("Cast", [rounded], {"to": ir.DataType.FLOAT}, name=f"{rounded.name}.float32")
    back.outputs[0].name, back.outputs[0].dtype, back.outputs[0].shape = (
        f"{rounded.name}.float32",
        ir.DataType.FLOAT,
        rounded.shape,
    )
    for reader, index in read:
        reader.replace_input_with(index, back.outputs[0])
    graph.insert_after(node, [back])


def _is_rounding(value: ir.Value) -> bool:
    node = value.producer()
    return node is not None and node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.BFLOAT16
