"""INT8 as TensorRT takes it: standard operators alone, explicit Quantize/Dequantize pairs, every zero point 0.

TensorRT quantizes symmetrically and reads INT8 alone, so activations and weights are int8 around 0 and a Gemm's bias stays float32
(onnx-tensorrt, docs/operators.md: QuantizeLinear and DequantizeLinear; NVIDIA, "Explicit Quantization"). Weights are stored in
8 bits behind a DequantizeLinear. The source is the graph as exported: what `edgekit.exporter.fusions.fuse` makes of it are operators of
ONNX Runtime's own, and TensorRT fuses by itself. Which pairs become INT8 kernels is decided when the engine is built.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from edgekit.config.quantize import Int8
from edgekit.onnx_graph.initializers import add_initializer
from edgekit.onnx_graph.linear import LinearNode, linear_nodes
from edgekit.onnx_graph.metadata import keep_float
from edgekit.onnx_graph.operators import DEQUANTIZE, QUANTIZE
from edgekit.onnx_graph.rewrite import replace
from edgekit.quantize.static import Ranges
from edgekit.quantize.weights import quantize_weight

__all__ = ["quantize_for_tensorrt"]


def quantize_for_tensorrt(model: ir.Model, settings: Int8, ranges: Ranges, *, keep: Collection[str] = ()) -> dict[str, int]:
    """Put float32 `model` as it was exported in INT8 form with activation ranges `ranges`, in place; returns counts.

    Linear layers named in `keep` stay float32 and need no range.
    """
    graph = model.graph
    linears = [linear for linear in linear_nodes(graph) if linear.name not in keep]
    shown = {str(linear.node.inputs[0].name): linear.node.inputs[0] for linear in linears}
    restored = {name: _pair(graph, value, ranges[name]) for name, value in shown.items()}
    for linear in linears:
        _linear(graph, linear, restored[str(linear.node.inputs[0].name)], settings)
    keep_float(model, keep)
    return {"matmul": len(linears), "embedding": 0}


def _pair(graph: ir.Graph, value: ir.Value, bounds: tuple[float, float]) -> ir.Value:
    """`value` through QuantizeLinear and DequantizeLinear, one scale for the tensor, right after what makes it."""
    scale = np.array(max(-bounds[0], bounds[1], 127e-12) / 127, dtype=np.float32)
    ends = [
        add_initializer(graph, f"{value.name}.scale", scale),
        add_initializer(graph, f"{value.name}.zero", np.array(0, dtype=np.int8)),
    ]
    down = ir.node(QUANTIZE, [value, *ends], name=f"{value.name}.quantize")
    up = ir.node(DEQUANTIZE, [down.outputs[0], *ends], name=f"{value.name}.dequantize")
    producer = value.producer()
    assert producer is not None, "the input of a linear layer is made by a node"
    graph.insert_after(producer, [down, up])
    return up.outputs[0]


def _linear(graph: ir.Graph, linear: LinearNode, activation: ir.Value, settings: Int8) -> None:
    integers = quantize_weight(linear.weight, per_channel=settings.per_channel, reduce_range=settings.reduce_range)
    stored = [
        add_initializer(graph, f"{linear.name}.weight", integers.values),
        add_initializer(graph, f"{linear.name}.weight.scale", integers.scale),
        add_initializer(graph, f"{linear.name}.weight.zero", integers.zero),
    ]
    options = {"axis": 1} if settings.per_channel else {}
    weight = ir.node(DEQUANTIZE, stored, options, name=f"{linear.name}.weight.dequantize")
    inputs = [activation, weight.outputs[0]]
    if linear.bias is not None:
        inputs.append(add_initializer(graph, f"{linear.name}.bias", linear.bias.astype(np.float32)))
    new = ir.node(linear.node.op_type, inputs, name=f"{linear.name}.int8")
    replace(graph, [linear.node], [weight, new], new.outputs[0])
