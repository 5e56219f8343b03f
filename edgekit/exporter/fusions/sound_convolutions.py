"""The convolutions over time that make frames of a sound, as the MatMuls that they are: every quantizer and the audit see them.

Of 512 channels, kernels of 3 and 3,199 frames on one thread of an AVX-512 chip: Conv in float32 26 ms, ConvInteger 18, MatMul with its slices
and transpositions 29 in float32 and 12 in dynamic INT8 (onnxruntime 1.32). A convolution of one channel, which reads the samples, takes 0.6 ms
as it is and 1.7 in integers, and one in groups multiplies what is short: both stay.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.match import attributes
from edgekit.onnx_graph.rewrite import replace

__all__ = ["drop_full_mask", "sound_convolutions_as_matmul"]

TURN = (0, 2, 1)
"""(b, channels, frames) <-> (b, frames, channels)."""
PASSING = ("Gelu", "Relu", "Sigmoid", "Tanh")
"""Operators of one input that do the same to each number, wherever it is."""
ADDITIVE = 5
"""Input of MultiHeadAttention."""
END = np.iinfo(np.int64).max


def sound_convolutions_as_matmul(model: ir.Model) -> int:
    """Replace each convolution over one axis, of several channels in one group, by slices side by side, one MatMul and its bias."""
    graph, count = model.graph, 0
    for node in [item for item in graph if item.op_type == "Conv"]:
        weight, bias = array_of(node.inputs[1]), node.inputs[2] if len(node.inputs) > 2 else None
        options, given = attributes(node), node.inputs[0]
        if (
            weight is None
            or weight.ndim != 3
            or weight.shape[1] == 1
            or given is None
            or (bias is not None and array_of(bias) is None)
        ):
            continue
        dilated = any(one != 1 for one in options.get("dilations", ())) or options.get("auto_pad", "NOTSET") != "NOTSET"
        if options.get("group", 1) != 1 or dilated:
            continue
        (stride,), kernel = tuple(options.get("strides", (1,))), weight.shape[2]
        name = str(node.name or node.outputs[0].name)
        turned = ir.node("Transpose", [given], {"perm": list(TURN)}, name=f"{name}.turned")
        every = [
            add_initializer(graph, f"{name}.{what}", np.array([value])) for what, value in (("axis", 1), ("stride", stride))
        ]
        padding, slices = tuple(options.get("pads", (0, 0))), []
        new = [turned]
        if any(padding):
            amounts = add_initializer(graph, f"{name}.padding", np.array([0, padding[0], 0, 0, padding[1], 0]))
            new.append(ir.node("Pad", [turned.outputs[0], amounts], name=f"{name}.padded"))
        for start in range(kernel):
            ends = (("start", start), ("end", start + 1 - kernel or END))
            places = [add_initializer(graph, f"{name}.{what}{start}", np.array([value])) for what, value in ends]
            slices.append(ir.node("Slice", [new[-1].outputs[0], *places, *every], name=f"{name}.slice{start}"))
        joined = ir.node("Concat", [one.outputs[0] for one in slices], {"axis": 2}, name=f"{name}.frames")
        columns = np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, weight.shape[0]))
        parts = [ir.node("MatMul", [joined.outputs[0], add_initializer(graph, f"{node.inputs[1].name}", columns)], name=name)]
        if bias is not None:
            parts.append(ir.node("Add", [parts[0].outputs[0], bias], name=f"{name}.bias"))
        for part in parts:
            part.outputs[0].type = node.outputs[0].type
        back = ir.node("Transpose", [parts[-1].outputs[0]], {"perm": list(TURN)}, name=f"{name}.back")
        replace(graph, [node], [*new, *slices, joined, *parts, back], back.outputs[0])
        count += 1
    return count + (_drop_turns(graph) if count else 0)


def _drop_turns(graph: ir.Graph) -> int:
    """Remove pairs of transpositions that undo one another, with nothing between them but what does the same to each number."""
    count = 0
    for last in [item for item in graph if _is_turn(item)]:
        between: list[ir.Node] = []
        node = last.inputs[0].producer() if last.inputs[0] is not None else None
        while node is not None and node.op_type in PASSING and len(node.outputs[0].uses()) == 1:
            between.append(node)
            node = node.inputs[0].producer() if node.inputs[0] is not None else None
        if node is None or not _is_turn(node) or (between and len(node.outputs[0].uses()) != 1):
            continue
        source = node.inputs[0]
        assert source is not None, "a transposition has an input"
        if between:
            between[-1].replace_input_with(0, source)
            for one in between:
                one.outputs[0].shape = None
            source = between[0].outputs[0]
        last.outputs[0].replace_all_uses_with(source, replace_graph_outputs=True)
        graph.remove(last, safe=True)
        count += 1
    return count


def _is_turn(node: ir.Node) -> bool:
    return node.op_type == "Transpose" and tuple(attributes(node).get("perm", ())) == TURN


def drop_full_mask(model: ir.Model) -> int:
    """Leave out of MultiHeadAttention a mask that hides nothing: that places counted from 0 on are not before 0 is what transformers asks where
    there is no padding."""
    count = 0
    for node in [item for item in model.graph if item.op_type == "MultiHeadAttention" and len(item.inputs) > ADDITIVE]:
        where = _through(node.inputs[ADDITIVE], "Expand", "Unsqueeze")
        if where is None or where.op_type != "Where" or (shown := array_of(where.inputs[1])) is None or shown.any():
            continue
        asked = _through(where.inputs[0], "Expand", "Unsqueeze", "Reshape", "Slice", "Transpose", "Cast")
        if (
            asked is None
            or asked.op_type != "GreaterOrEqual"
            or (least := array_of(asked.inputs[1])) is None
            or (least > 0).any()
        ):
            continue
        counted = _through(asked.inputs[0], "Expand", "Unsqueeze", "Reshape", "Slice", "Transpose", "Cast")
        ends = (
            [] if counted is None or counted.op_type != "Range" else [array_of(counted.inputs[0]), array_of(counted.inputs[2])]
        )
        if ends and all(end is not None and (end >= 0).all() for end in ends):
            node.replace_input_with(ADDITIVE, None)
            count += 1
    return count


def _through(value: ir.Value | None, *kinds: str) -> ir.Node | None:
    """The node that makes `value`, behind those of `kinds`, which put numbers elsewhere."""
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in kinds:
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return node
