"""Embedding lookups whose rows are known beforehand: positions that count up by one, and token types that are always 0."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.onnx_graph.initializers import add_initializer, array_of

__all__ = ["fold_token_types", "slice_positions"]


def fold_token_types(model: ir.Model) -> int:
    """Replace Gather(table, indices that are always 0) + x by a constant row, folded into the position table when there is one."""
    graph, count = model.graph, 0
    for node in list(graph):
        types = array_of(node.inputs[0]) if node.op_type == "Gather" else None
        if types is None or not _always_zero(node.inputs[1]):
            continue
        row = types[0]
        (add, _), *more = node.outputs[0].uses()
        if more or add.op_type != "Add":
            continue
        constant = add_initializer(graph, f"{node.inputs[0].name}.row0", row)
        other = next(item for item in add.inputs if item is not node.outputs[0])
        lookup = _position_lookup(add)
        count += 1
        if lookup is None:
            add.replace_input_with(list(add.inputs).index(node.outputs[0]), constant)
            continue
        table = array_of(lookup.inputs[0])
        assert table is not None, "a position lookup reads a constant table"
        with_type = (table + row).astype(table.dtype)
        lookup.replace_input_with(0, add_initializer(graph, f"{lookup.inputs[0].name}.with_type0", with_type))
        add.outputs[0].replace_all_uses_with(other)
    return count


def slice_positions(model: ir.Model, max_length: int) -> int:
    """Replace Gather(table, [n, n + 1, … n + sequence - 1]) by Slice(table[n:], 0, sequence), rows cut to `max_length`."""
    graph, count = model.graph, 0
    for node in list(graph):
        whole = array_of(node.inputs[0]) if node.op_type == "Gather" else None
        consecutive = _consecutive(node.inputs[1]) if whole is not None else None
        if whole is None or consecutive is None:
            continue
        first, stop = consecutive
        rows = whole[None, first : first + max_length]
        table, start, axis = (
            add_initializer(graph, f"{node.name}.{name}", value)
            for name, value in (("table", rows), ("start", np.array([0])), ("axis", np.array([1])))
        )
        cut = ir.node("Slice", [table, start, stop, axis], name=f"{node.name}.slice")
        graph.insert_before(node, cut)
        node.outputs[0].replace_all_uses_with(cut.outputs[0])
        count += 1
    return count


def _position_lookup(add: ir.Node) -> ir.Node | None:
    """The position lookup that the sum `add` is added to next."""
    for reader, _ in add.outputs[0].uses():
        if reader.op_type not in {"Add", "SkipLayerNormalization"}:
            continue
        for item in reader.inputs[:2]:
            producer = item.producer() if item is not None else None
            if producer is not None and producer.op_type == "Gather" and _consecutive(producer.inputs[1]) is not None:
                return producer
    return None


def _always_zero(value: ir.Value | None) -> bool:
    """Whether `value` selects, by shape alone, from a constant of zeros."""
    while value is not None:
        constant = array_of(value)
        if constant is not None:
            return not constant.any()
        node = value.producer()
        if node is None or node.op_type not in {"Expand", "GatherElements", "Slice", "Reshape", "Unsqueeze", "Gather"}:
            return False
        value = node.inputs[0]
    return False


def _consecutive(value: ir.Value | None) -> tuple[int, ir.Value] | None:
    """(n, stop) where `value` is Slice([n, n + 1, n + 2, …], 0, stop) with step 1; None where it is anything else."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Slice":
        return None
    numbers, start, stop = array_of(node.inputs[0]), array_of(node.inputs[1]), node.inputs[2]
    step = array_of(node.inputs[4]) if len(node.inputs) > 4 else np.array([1])
    if numbers is None or start is None or stop is None or step is None or start.any() or (step != 1).any():
        return None
    flat = numbers.ravel()
    return (int(flat[0]), stop) if np.array_equal(flat, flat[0] + np.arange(flat.size)) else None
