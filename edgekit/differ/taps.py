"""Where each part's value is in a bundle's graph: by the names that the decoder's graph is written with, in an encoder by its norms.

An encoder's graph is traced, fused and quantized, so names say little, and constants that are equal share one name. What every encoder keeps
through all of that is the chain of its norms, one for the embeddings and two for each layer, each of which reads a sum of the residual
stream and what a Linear gives. A value is taken before it is rounded for an integer kernel, so that what rounding its input costs is the
next part's error. Smoothing (`edgekit.quantize.smoothquant`) divides what leaves a norm by a factor for each channel, which the Linears that
read it undo, and so does a Mul on the way to the residual stream: the constant of that Mul makes the numbers comparable again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.differ.parts import Part
from edgekit.onnx_graph.initializers import array_of

__all__ = ["CACHE", "Taps", "decoder_taps", "encoder_taps"]

NORMS = ("LayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization")
LINEARS = (
    "MatMul", "Gemm", "FusedMatMul", "FusedGemm", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger", "QLinearMatMul",
    "QGemm", "MatMulNBits",
)  # fmt: skip
THROUGH = ("Add", "Sum", "Cast", "QuantizeLinear", "DequantizeLinear", "Mul", "Reshape", "Identity", "BiasGelu")
"""Operators that may stand between a Linear and the sum that reads it: its bias and roundings."""
ROUNDED = ("QuantizeLinear", "DequantizeLinear", "Cast", "DynamicQuantizeLinear")
"""Operators between a value and the integer or half-precision kernel that reads it."""
CACHE = "GroupQueryAttention"
SCALES = {"keys": 12, "values": 13}
"""Inputs of that operator that hold the scale of each channel of an int8 cache."""


@dataclass(frozen=True)
class Taps:
    """The value that leaves each part."""

    values: Mapping[Part, ir.Value]
    scales: Mapping[Part, ir.Value]
    """What a part's value times which is the number that it stands for, float32 (channels,): of keys and values in 8 bits their scale, of
    what leaves a norm that was smoothed the factor that smoothing divided it by."""
    missing: str = ""
    """Why the layers have none, where they have none."""


def decoder_taps(graph: ir.Graph, layers: int) -> Taps:
    """Taps of a decoder's graph, whose nodes are called as `edgekit.exporter.decoder_graph` calls them, quantized or not."""
    nodes = {str(node.name): node for node in graph}
    found: dict[Part, ir.Value] = {Part("output"): next(value for value in graph.outputs if value.name == "logits")}
    scales: dict[Part, ir.Value] = {}
    for number in range(layers):
        name = f"layer.{number}"
        attention, norm = nodes.get(f"{name}.attention.gqa"), nodes.get(f"{name}.attention.norm")
        if attention is None or norm is None or attention.op_type != CACHE:
            return Taps({Part("output"): found[Part("output")]}, {}, "its graph is not written as edgekit writes decoders")
        entered = _sum(norm) if number else norm.inputs[0]
        assert entered is not None, "a norm reads something"
        found[Part("layer", number - 1) if number else Part("embeddings")] = entered
        found[Part("heads", number)] = attention.outputs[0]
        for kind, position in (("keys", 1), ("values", 2)):
            part = Part(kind, number)  # type: ignore[arg-type]
            found[part] = attention.outputs[position]
            scale = attention.inputs[SCALES[kind]] if len(attention.inputs) > SCALES[kind] else None
            if scale is not None:
                scales[part] = scale
        mlp_norm = nodes.get(f"{name}.mlp.norm")
        if mlp_norm is not None and f"{name}.both" not in nodes:  # side by side, both read what enters the layer
            found[Part("attention", number)] = _sum(mlp_norm)
        down = next(
            (node for key, node in nodes.items() if key == f"{name}.mlp.down" or key.startswith(f"{name}.mlp.down.int")), None
        )
        if down is not None and down.inputs[0] is not None:
            found[Part("neurons", number)] = _before_rounding(down.inputs[0])
    last = nodes["head.norm"]
    kept = last.inputs[0].producer() if last.inputs[0] is not None else None
    if kept is not None and kept.op_type == "Slice" and kept.inputs[0] is not None:
        found[Part("layer", layers - 1)] = kept.inputs[0]
    found[Part("head")] = last.outputs[0]
    return Taps(found, scales)


def encoder_taps(graph: ir.Graph, layers: int, *, norm_first: bool) -> Taps:
    """Taps of an encoder's graph of so many layers. `norm_first`: whether a layer normalises what its blocks read, instead of their sums."""
    output = graph.outputs[0]
    found: dict[Part, ir.Value] = {Part("output"): output}
    norms = [
        node for node in graph if node.op_type in NORMS and node.inputs[0] is not None and node.inputs[0].producer() is not None
    ]
    if len(norms) < 1 + 2 * layers:
        return Taps(found, {}, f"its graph has {len(norms)} norms, and {layers} layers have {1 + 2 * layers}")
    found[Part("embeddings")] = norms[0].outputs[0]
    stream = {id(norms[0].outputs[0])}
    for number in range(layers):
        for kind, inner, norm in (("attention", "heads", norms[1 + 2 * number]), ("layer", "neurons", norms[2 + 2 * number])):
            left = _sum(norm) if norm_first else norm.outputs[0]
            linear = _linear_into(norm, stream)
            if linear is not None and linear.inputs[0] is not None:
                found[Part(inner, number)] = _before_rounding(linear.inputs[0])  # type: ignore[arg-type]
            found[Part(kind, number)] = left  # type: ignore[arg-type]
            stream |= {id(left), id(norm.outputs[0]), id(_sum(norm))}
    scales = {part: scale for part, value in found.items() if (scale := _taken_back(value)) is not None}
    order = {id(node): place for place, node in enumerate(graph)}
    after = order[id(norms[2 * layers])]
    last = next((node for node in reversed(list(graph)) if node.op_type in LINEARS and order[id(node)] > after), None)
    if last is not None and last.inputs[0] is not None:
        read = _before_rounding(last.inputs[0])
        if read is not found[Part("layer", layers - 1)]:
            found[Part("head")] = read
    return Taps(found, scales)


def _sum(norm: ir.Node) -> ir.Value:
    """The residual stream that `norm` reads: of a norm that adds as well its own fourth output, which is named where it was not."""
    if not norm.op_type.startswith("Skip"):
        assert norm.inputs[0] is not None
        return norm.inputs[0]
    if len(norm.outputs) < 4:
        norm.resize_outputs(4)
    if not norm.outputs[3].name:
        norm.outputs[3].name = f"{norm.outputs[0].name}.sum"
    return norm.outputs[3]


def _taken_back(value: ir.Value) -> ir.Value | None:
    """The constant (channels,) by which a Mul multiplies what a norm gives on the way to the residual stream; None where nothing does."""
    norm = value.producer()
    if norm is None or norm.op_type not in NORMS or value is not norm.outputs[0]:
        return None
    for node, index in value.uses():
        factor = node.inputs[1 - index] if node.op_type == "Mul" else None
        array = array_of(factor)
        if array is not None and array.ndim == 1 and array.size > 1 and bool((array > 0).all()):
            return factor
    return None


def _linear_into(norm: ir.Node, stream: set[int]) -> ir.Node | None:
    """The Linear whose output is added to the residual stream where `norm` reads it."""
    total = norm.inputs[0].producer() if norm.inputs[0] is not None else None
    if norm.op_type.startswith("Skip"):
        starts = list(norm.inputs[:2])
    elif total is not None and total.op_type in ("Add", "Sum"):
        starts = list(total.inputs)
    else:
        starts = []
    for value in starts:
        if value is not None and id(value) not in stream and (linear := _linear_behind(value, stream)) is not None:
            return linear
    return None


def _linear_behind(value: ir.Value, stream: set[int]) -> ir.Node | None:
    """The nearest Linear that `value` is made by, by way of its bias and roundings alone."""
    node = value.producer()
    if node is None or id(value) in stream:
        return None
    if node.op_type in LINEARS:
        return node
    if node.op_type not in THROUGH:
        return None
    return next(
        (linear for item in node.inputs if item is not None and (linear := _linear_behind(item, stream)) is not None), None
    )


def _before_rounding(value: ir.Value) -> ir.Value:
    """The value that `value` is a rounding of."""
    for node in _producers(value):
        if node.op_type not in ROUNDED or node.inputs[0] is None or node.inputs[0].producer() is None:
            break
        value = node.inputs[0]
    return value


def _producers(value: ir.Value) -> Iterator[ir.Node]:
    node = value.producer()
    while node is not None:
        yield node
        node = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
