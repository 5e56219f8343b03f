"""The convolution that cuts an image, or the features of a sound, into patches, as the MatMul that it is: every quantizer and the audit see it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.match import attributes, sole_reader
from edgekit.onnx_graph.rewrite import replace

__all__ = ["patches_as_matmul"]


def patches_as_matmul(model: ir.Model) -> int:
    """Replace Conv, Reshape and Transpose to (b, patches, hidden) by one MatMul and its bias, where it has one.

    Patches that overlap, or leave out an edge, are gathered, others reshaped.
    """
    graph, count = model.graph, 0
    for node in [item for item in graph if item.op_type == "Conv"]:
        flat = sole_reader(node, "Reshape")
        turned = sole_reader(flat, "Transpose")
        image, weight = node.inputs[0], array_of(node.inputs[1])
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if turned is None or image is None or image.shape is None or weight is None or weight.ndim != 4:
            continue
        if bias is not None and array_of(bias) is None:
            continue
        options, sides = attributes(node), image.shape[1:]
        kernel = weight.shape[2:]
        strides = tuple(options.get("strides", (1, 1)))
        whole = not any(options.get("pads", ())) and options.get("group", 1) == 1
        if not whole or any(one != 1 for one in options.get("dilations", ())) or options.get("auto_pad", "NOTSET") != "NOTSET":
            continue
        if tuple(attributes(turned).get("perm", ())) != (0, 2, 1) or not all(isinstance(side, int) for side in sides):
            continue
        channels, height, width = (int(side) for side in sides)
        high, wide = ((side - size) // stride + 1 for side, size, stride in zip((height, width), kernel, strides, strict=True))
        name = str(node.name or node.outputs[0].name)
        if strides == kernel and (high * kernel[0], wide * kernel[1]) == (height, width):
            cut = _reshaped(graph, image, [0, channels, high, kernel[0], wide, kernel[1]], f"{name}.cut")
            order = ir.node("Transpose", [cut.outputs[0]], {"perm": [0, 2, 4, 1, 3, 5]}, name=f"{name}.order")
            rows = _reshaped(graph, order.outputs[0], [0, high * wide, int(np.prod(weight.shape[1:]))], f"{name}.patches")
            parts = [cut, order, rows]
        else:
            flattened = _reshaped(graph, image, [0, channels * height * width], f"{name}.flat")
            places = np.arange(channels * height * width, dtype=np.int32).reshape(channels, height, width)
            views = np.lib.stride_tricks.sliding_window_view(places, kernel, axis=(1, 2))[:, :: strides[0], :: strides[1]]
            taken = views.transpose(1, 2, 0, 3, 4).reshape(high * wide, -1)
            rows = ir.node(
                "Gather",
                [flattened.outputs[0], add_initializer(graph, f"{name}.places", taken)],
                {"axis": 1},
                name=f"{name}.patches",
            )
            parts = [flattened, rows]
        columns = weight.reshape(weight.shape[0], -1).T
        product = ir.node("MatMul", [rows.outputs[0], add_initializer(graph, f"{node.inputs[1].name}", columns)], name=name)
        product.outputs[0].type, product.outputs[0].shape = turned.outputs[0].type, turned.outputs[0].shape
        new = [*parts, product]
        new += [] if bias is None else [ir.node("Add", [product.outputs[0], bias], name=f"{name}.bias")]
        replace(graph, [node, flat, turned], new, new[-1].outputs[0])
        count += 1
    return count


def _reshaped(graph: ir.Graph, value: ir.Value, shape: list[int], name: str) -> ir.Node:
    """`value` in another shape, in which 0 stands for the same size."""
    return ir.node("Reshape", [value, add_initializer(graph, f"{name}.shape", np.array(shape, dtype=np.int64))], name=name)
