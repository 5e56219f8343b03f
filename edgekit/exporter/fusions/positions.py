"""Positions known beforehand: lookups that count up by one, token types that are always 0, and tables of relative distance."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.match import producer_of, upstream
from edgekit.runtime.providers.session import plain_session

__all__ = ["fold_token_types", "look_up_distances", "slice_positions"]

ELEMENTWISE = {
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Div", "Equal", "Expand", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
    "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "Shape", "Sign", "Sub", "Where",
}  # fmt: skip


def fold_token_types(graph: ir.Graph, _: int) -> None:
    """Replace Gather(table, indices that are always 0) + x by a constant row, folded into the position table when there is one."""
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
        position = _position_gather(add)
        if position is None:
            add.replace_input_with(list(add.inputs).index(node.outputs[0]), constant)
            continue
        table = array_of(position.inputs[0])
        assert table is not None, "a position lookup reads a constant table"
        position.replace_input_with(
            0, add_initializer(graph, f"{position.inputs[0].name}.with_type0", (table + row).astype(table.dtype))
        )
        add.outputs[0].replace_all_uses_with(other)


def _position_gather(add: ir.Node) -> ir.Node | None:
    """The position lookup that the sum `add` is added to next."""
    for user, _ in add.outputs[0].uses():
        if user.op_type not in {"Add", "SkipLayerNormalization"}:
            continue
        for item in user.inputs[:2]:
            producer = item.producer() if item is not None else None
            if producer is not None and producer.op_type == "Gather" and _counted(producer.inputs[1]) is not None:
                return producer
    return None


def slice_positions(graph: ir.Graph, max_length: int) -> None:
    """Replace Gather(table, [n, n + 1, … n + sequence - 1]) by Slice(table[n:], 0, sequence), rows cut to `max_length`."""
    for node in list(graph):
        whole = array_of(node.inputs[0]) if node.op_type == "Gather" else None
        counted = _counted(node.inputs[1]) if whole is not None else None
        if whole is None or counted is None:
            continue
        first, stop = counted
        table = whole[None, first : first + max_length]
        constants = [
            add_initializer(graph, f"{node.name}.{name}", value)
            for name, value in (("table", table), ("start", np.array([0])), ("axis", np.array([1])))
        ]
        cut = ir.node("Slice", [constants[0], constants[1], stop, constants[2]], name=f"{node.name}.slice")
        graph.insert_before(node, cut)
        node.outputs[0].replace_all_uses_with(cut.outputs[0])


def look_up_distances(graph: ir.Graph, max_length: int) -> None:
    """Replace what is computed number by number from the distances of all pairs of tokens by a lookup in 2 max_length - 1 values."""
    for root in [node for node in graph if node.op_type == "Sub"]:
        counts = [producer_of(upstream(value, "Unsqueeze"), "Range") for value in root.inputs]
        if counts[0] is None or counts[0] is not counts[1]:
            continue
        derived, distances = [], root.outputs[0]
        known = {distances}
        for node in graph:
            followed = node.op_type in ELEMENTWISE and known & set(node.inputs)
            if followed and all(value in known or array_of(value) is not None for value in node.inputs):
                derived.append(node)
                known.add(node.outputs[0])
        ends = [
            node.outputs[0] for node in derived
            if node.op_type != "Shape" and any(user not in derived for user, _ in node.outputs[0].uses())
        ]  # fmt: skip
        if len(derived) < 4 or not ends:
            continue
        arrays = _evaluate(graph, distances, ends, np.arange(1 - max_length, max_length))
        last = add_initializer(graph, f"{root.name}.last", np.array([max_length - 1]))
        last.shape = ir.Shape(())  # the one number broadcasts; declared a scalar, as in every file exported so far
        index = ir.node("Add", [distances, last], name=f"{root.name}.index")
        tables = [add_initializer(graph, f"{end.name}.table", array) for end, array in zip(ends, arrays, strict=True)]
        found = [ir.node("Gather", [table, index.outputs[0]], name=f"{table.name}.lookup") for table in tables]
        graph.insert_after(root, [index, *found])
        for end, node in zip(ends, found, strict=True):
            node.outputs[0].shape, node.outputs[0].type = end.shape, end.type
            end.replace_all_uses_with(node.outputs[0])


def _evaluate(graph: ir.Graph, given: ir.Value, wanted: list[ir.Value], numbers: np.ndarray) -> list[np.ndarray]:
    """`wanted` as ONNX Runtime computes them, number by number, from `given` = `numbers`, int64 (n,)."""

    part = ir.convenience.extract(graph, [given], wanted)
    for value in (*part.inputs, *(output for node in part for output in node.outputs)):
        value.shape = None
    part.inputs[0].shape = ir.Shape(numbers.shape)
    model = ir.Model(part, ir_version=10)
    session = plain_session(ir.to_proto(model).SerializeToString(), threads=1)  # a few small products
    arrays: list[np.ndarray] = session.run(None, {part.inputs[0].name: numbers})
    return arrays


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


def _counted(value: ir.Value | None) -> tuple[int, ir.Value] | None:
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
