"""Static INT8 in QDQ form: ranges from calibration, Quantize/Dequantize pairs around every MatMul with a constant weight.

Standard ONNX operators only, so any provider that knows QDQ can take it; ONNX Runtime's CPU provider turns each group into
`MatMulIntegerToFloat` or `QLinearMatMul` (its selectors: core/optimizer/qdq_transformer/selectors_actions).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.config.quantize import Int8
from edgekit.config.recipe import CalibrationMethod
from edgekit.onnx_graph.initializers import add_initializer
from edgekit.onnx_graph.linear import LinearNode, linear_nodes
from edgekit.onnx_graph.metadata import keep_float
from edgekit.onnx_graph.rewrite import replace
from edgekit.progress import Progress
from edgekit.quantize.embedding import quantize_embeddings
from edgekit.quantize.observe import Feed
from edgekit.quantize.ranges import collect
from edgekit.quantize.weights import quantize_weight

__all__ = ["Ranges", "activation_ranges", "activation_scale", "quantize_static"]


Ranges = Mapping[str, tuple[float, float]]
"""(low, high) of each linear layer's input, by the tensor's name."""


def activation_ranges(
    model: ir.Model,
    feeds: Sequence[Feed],
    method: CalibrationMethod,
    memory_mb: int,
    progress: Progress,
    *,
    known: Collection[str] = (),
) -> dict[str, tuple[float, float]]:
    """Calibrated range of each linear layer's input in float32 `model`, those in `known` left out; raises as `collect`."""
    names = {str(linear.node.inputs[0].name): None for linear in linear_nodes(model.graph) if linear.node.inputs[0]}
    wanted = [name for name in names if name not in known]
    return collect(model, wanted, feeds, method, memory_mb, progress) if wanted else {}


def quantize_static(model: ir.Model, settings: Int8, ranges: Ranges, *, keep: Collection[str] = ()) -> dict[str, int]:
    """Put fused float32 `model` in static INT8 form with activation ranges `ranges`, in place; returns counts of what was made.

    Linear layers named in `keep` stay float32 and need no range.
    """
    graph = model.graph
    linears = [linear for linear in linear_nodes(graph) if linear.name not in keep]
    shown = {linear.node.inputs[0].name: linear.node.inputs[0] for linear in linears}
    restored = {name: _quantized_activation(graph, value, ranges[name], settings) for name, value in shown.items()}
    for linear in linears:
        name = linear.node.inputs[0].name
        _matmul(graph, linear, restored[name], activation_scale(*ranges[name], signed=False)[0], settings)
    embeddings = quantize_embeddings(graph, settings.embeddings)
    keep_float(model, keep)
    return {"matmul": len(linears), "embedding": embeddings}


def activation_scale(low: float, high: float, signed: bool) -> tuple[np.float32, np.ndarray]:
    """(scale, zero point) of an asymmetric 8-bit range; the zero point is uint8, or int8 where signed."""
    scale = np.float32(max((high - low) / 255, 1e-12))
    zero = int(np.clip(np.rint(-low / scale), 0, 255))
    return scale, np.array(zero - 128, dtype=np.int8) if signed else np.array(zero, dtype=np.uint8)


def _quantized_activation(graph: ir.Graph, value: ir.Value, bounds: tuple[float, float], settings: Int8) -> ir.Value:
    """`value` passed through QuantizeLinear and DequantizeLinear, placed right after what makes it."""
    scale, zero = activation_scale(*bounds, signed=settings.activations == "int8")
    ends = [
        add_initializer(graph, f"{value.name}.scale", np.asarray(scale)),
        add_initializer(graph, f"{value.name}.zero", zero),
    ]
    down = ir.node("QuantizeLinear", [value, *ends], name=f"{value.name}.quantize")
    up = ir.node("DequantizeLinear", [down.outputs[0], *ends], name=f"{value.name}.dequantize")
    producer = value.producer()
    assert producer is not None, "the input of a linear layer is made by a node"
    graph.insert_after(producer, [down, up])
    return up.outputs[0]


def _matmul(graph: ir.Graph, linear: LinearNode, activation: ir.Value, scale: np.float32, settings: Int8) -> None:
    """MatMul stays MatMul. Gemm stays Gemm with an int32 bias of scale `scale` * weight scale: ONNX Runtime would fuse a
    two-dimensional MatMul + Add to a float Gemm before it looks for Q/DQ pairs.
    """
    node = linear.node
    name = node.name or node.outputs[0].name
    signed = settings.weights == "int8"
    integers = quantize_weight(
        linear.weight, per_channel=settings.per_channel, reduce_range=settings.reduce_range, signed=signed
    )
    stored = [
        add_initializer(graph, f"{name}.weight", integers.values),
        add_initializer(graph, f"{name}.weight.scale", integers.scale),
        add_initializer(graph, f"{name}.weight.zero", integers.zero),
    ]
    options = {"axis": 1} if settings.per_channel else {}
    weight = ir.node("DequantizeLinear", stored, options, name=f"{name}.weight.dequantize")
    if linear.bias is None:
        new = ir.node(node.op_type, [activation, weight.outputs[0]], name=f"{name}.int8")
        replace(graph, [node], [weight, new], new.outputs[0])
        return
    step = scale * integers.scale
    counts = np.clip(np.rint(linear.bias / step), -(2**31) + 1, 2**31 - 1).astype(np.int32)
    ends = [
        add_initializer(graph, f"{name}.bias", counts),
        add_initializer(graph, f"{name}.bias.scale", step.astype(np.float32)),
    ]
    ends.append(add_initializer(graph, f"{name}.bias.zero", np.zeros(step.shape, dtype=np.int32)))
    bias = ir.node("DequantizeLinear", ends, {"axis": 0} if settings.per_channel else {}, name=f"{name}.bias.dequantize")
    new = ir.node("Gemm", [activation, weight.outputs[0], bias.outputs[0]], name=f"{name}.int8")
    replace(graph, [node], [weight, bias, new], new.outputs[0])
