"""Fewer, larger operators: ONNX Runtime's own fused forms, found by the shapes in the graph and not by a configured head count.

At batch 1 and ten tokens an encoder spends about as long in small operators as in arithmetic. onnxscript's
`optimize_for_ort` finds attention, skip-normalisation and bias-GELU; the passes here then remove what it leaves: the
expanded copy of the mask in each layer, the token-type lookup that is always row 0, and the position lookup that is
always 0, 1, 2, … Heads are read off each layer's own reshape, so layers pruned to different head counts fuse rightly.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, RemoveUnusedOpsetsPass
from onnxscript.rewriter.ort_fusions import optimize_for_ort

__all__ = ["drop_notes", "fuse"]

MICROSOFT = "com.microsoft"


def fuse(source: Path, out: Path, max_length: int) -> dict[str, int]:
    """Write the fused form of ONNX model `source` to `out`; returns how often each operator stands in it.

    Position tables are cut to `max_length` rows, the longest input the bundle accepts.
    """
    model = ir.load(source)
    model, _ = optimize_for_ort(model, clear_metadata=True)
    for step in (_mask_as_key_padding, _fold_token_types, _slice_positions, _skip_embeddings):
        step(model.graph, max_length)
        RemoveUnusedNodesPass()(model)
    model.opset_imports[MICROSOFT] = 1
    RemoveUnusedOpsetsPass()(model)
    drop_notes(model)
    ir.save(model, out)
    return dict(sorted(Counter(node.op_type for node in model.graph).items()))


def _mask_as_key_padding(graph: ir.Graph, _: int) -> None:
    """Give MultiHeadAttention the raw 0/1 mask (input 4) instead of an expanded additive one (input 5).

    Only where the additive mask comes from nothing but `attention_mask`.
    """
    mask = next((value for value in graph.inputs if value.name == "attention_mask"), None)
    attentions = [node for node in graph if node.op_type == "MultiHeadAttention"]
    plain = [node for node in attentions if len(node.inputs) > 5 and mask is not None and _comes_from(node.inputs[5], mask)]
    if not plain:
        return
    cast = ir.node("Cast", [mask], {"to": ir.DataType.INT32}, name="key_padding")
    graph.insert_before(graph[0], cast)
    for node in plain:
        node.replace_input_with(5, None)
        node.replace_input_with(4, cast.outputs[0])


def _comes_from(value: ir.Value | None, origin: ir.Value) -> bool:
    """Whether `value` is `origin` passed through Unsqueeze, Cast, 1 - x, scaling and Expand alone."""
    while value is not None and value is not origin:
        node = value.producer()
        if node is None or node.op_type not in {"Expand", "Mul", "Sub", "Cast", "Unsqueeze"}:
            return False
        flowing = [item for item in node.inputs if item is not None and item.const_value is None]
        value = flowing[0] if node.op_type in {"Mul", "Sub"} and len(flowing) == 1 else node.inputs[0]
    return value is origin


def _fold_token_types(graph: ir.Graph, _: int) -> None:
    """Replace Gather(table, indices that are always 0) + x by a constant row, folded into the position table when there is one."""
    for node in list(graph):
        types = _array(node.inputs[0]) if node.op_type == "Gather" else None
        if types is None or not _always_zero(node.inputs[1]):
            continue
        row = types[0]
        (add, _), *more = node.outputs[0].uses()
        if more or add.op_type != "Add":
            continue
        constant = _initializer(graph, f"{node.inputs[0].name}.row0", row)
        other = next(item for item in add.inputs if item is not node.outputs[0])
        position = _position_gather(add)
        if position is None:
            add.replace_input_with(list(add.inputs).index(node.outputs[0]), constant)
            continue
        table = _array(position.inputs[0])
        assert table is not None, "a position lookup reads a constant table"
        position.replace_input_with(
            0, _initializer(graph, f"{position.inputs[0].name}.with_type0", (table + row).astype(table.dtype))
        )
        add.outputs[0].replace_all_uses_with(other)


def _position_gather(add: ir.Node) -> ir.Node | None:
    """The position lookup that the sum `add` is added to next."""
    for user, _ in add.outputs[0].uses():
        if user.op_type not in {"Add", "SkipLayerNormalization"}:
            continue
        for item in user.inputs[:2]:
            producer = item.producer() if item is not None else None
            if producer is not None and producer.op_type == "Gather" and _counted_from_zero(producer.inputs[1]) is not None:
                return producer
    return None


def _slice_positions(graph: ir.Graph, max_length: int) -> None:
    """Replace Gather(table, [0, 1, … sequence - 1]) by Slice(table, 0, sequence), rows cut to `max_length`."""
    for node in list(graph):
        whole = _array(node.inputs[0]) if node.op_type == "Gather" else None
        stop = _counted_from_zero(node.inputs[1]) if whole is not None else None
        if whole is None or stop is None:
            continue
        table = whole[None, :max_length]
        constants = [
            _initializer(graph, f"{node.name}.{name}", value)
            for name, value in (("table", table), ("start", np.array([0])), ("axis", np.array([1])))
        ]
        cut = ir.node("Slice", [constants[0], constants[1], stop, constants[2]], name=f"{node.name}.slice")
        graph.insert_before(node, cut)
        node.outputs[0].replace_all_uses_with(cut.outputs[0])


def _skip_embeddings(graph: ir.Graph, _: int) -> None:
    """LayerNormalization(a + b) of the embeddings as SkipLayerNormalization, which broadcasts b over the batch."""
    for node in list(graph):
        if node.op_type != "LayerNormalization" or len(node.inputs) < 3:
            continue
        add = node.inputs[0].producer()
        if (
            add is None
            or add.op_type != "Add"
            or len(add.outputs[0].uses()) > 1
            or any(_array(item) is not None for item in add.inputs)
        ):
            continue
        producers = [item.producer() for item in add.inputs]
        sliced = [
            item for item, made in zip(add.inputs, producers, strict=True) if made is not None and made.op_type == "Slice"
        ]
        if len(sliced) != 1:
            continue
        other = next(item for item in add.inputs if item is not sliced[0])
        skip = ir.node(
            "SkipLayerNormalization",
            [other, sliced[0], node.inputs[1], node.inputs[2]],
            {"epsilon": node.attributes["epsilon"].as_float()},
            domain=MICROSOFT,
            name=f"{node.name}.skip",
        )
        graph.insert_before(node, skip)
        node.outputs[0].replace_all_uses_with(skip.outputs[0])


def _always_zero(value: ir.Value | None) -> bool:
    """Whether `value` selects, by shape alone, from a constant of zeros."""
    while value is not None:
        constant = _array(value)
        if constant is not None:
            return not constant.any()
        node = value.producer()
        if node is None or node.op_type not in {"Expand", "GatherElements", "Slice", "Reshape", "Unsqueeze", "Gather"}:
            return False
        value = node.inputs[0]
    return False


def _counted_from_zero(value: ir.Value | None) -> ir.Value | None:
    """The stop value n where `value` is Slice([0, 1, 2, …], 0, n) with step 1; None where it is anything else."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Slice":
        return None
    counted, start = _array(node.inputs[0]), _array(node.inputs[1])
    step = _array(node.inputs[4]) if len(node.inputs) > 4 else np.array([1])
    if counted is None or start is None or step is None or start.any() or (step != 1).any():
        return None
    return node.inputs[2] if np.array_equal(counted.ravel(), np.arange(counted.size)) else None


def _array(value: ir.Value | None) -> np.ndarray | None:
    """The constant behind `value`, or None."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else tensor.numpy()


def _initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """`array` as a named initializer of `graph`."""
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
    value.shape = ir.Shape(array.shape)
    value.dtype = value.const_value.dtype
    graph.initializers[name] = value
    return value


def drop_notes(model: ir.Model) -> None:
    """Remove the exporter's stack traces and source paths, which name the building machine and change the bytes."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
