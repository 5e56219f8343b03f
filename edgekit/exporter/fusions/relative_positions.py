"""What is computed from the distances of all pairs of tokens (buckets of MPNet, masks of ModernBERT, DeBERTa's logarithms) as lookups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.match import producer_of, upstream
from edgekit.runtime.providers.session import plain_session

__all__ = ["look_up_distances"]

ELEMENTWISE = {
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Div", "Equal", "Expand", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
    "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "Shape", "Sign", "Sub", "Where",
}  # fmt: skip
FEWEST = 4
"""Operators that a lookup must replace to be worth it."""


def look_up_distances(model: ir.Model, max_length: int) -> int:
    """Replace what is computed elementwise from the distances of all pairs of tokens by a lookup in 2 max_length - 1 values."""
    graph, count = model.graph, 0
    for root in [node for node in graph if node.op_type == "Sub"]:
        ranges = [producer_of(upstream(value, "Unsqueeze"), "Range") for value in root.inputs]
        if ranges[0] is None or ranges[0] is not ranges[1]:
            continue
        distances = root.outputs[0]
        derived = _derived(graph, distances)
        results = [
            node.outputs[0] for node in derived
            if node.op_type != "Shape" and any(reader not in derived for reader, _ in node.outputs[0].uses())
        ]  # fmt: skip
        if len(derived) < FEWEST or not results:
            continue
        arrays = _evaluate(graph, distances, results, np.arange(1 - max_length, max_length))
        last = add_initializer(graph, f"{root.name}.last", np.array([max_length - 1]))
        last.shape = ir.Shape(())  # the one number broadcasts; declared a scalar, as in every file exported so far
        index = ir.node("Add", [distances, last], name=f"{root.name}.index")
        tables = [add_initializer(graph, f"{value.name}.table", array) for value, array in zip(results, arrays, strict=True)]
        lookups = [ir.node("Gather", [table, index.outputs[0]], name=f"{table.name}.lookup") for table in tables]
        graph.insert_after(root, [index, *lookups])
        for value, lookup in zip(results, lookups, strict=True):
            lookup.outputs[0].shape, lookup.outputs[0].type = value.shape, value.type
            value.replace_all_uses_with(lookup.outputs[0])
        count += 1
    return count


def _derived(graph: ir.Graph, origin: ir.Value) -> list[ir.Node]:
    """The nodes that compute elementwise from `origin` and constants alone, in the graph's order."""
    derived, known = [], {origin}
    for node in graph:
        reads = node.op_type in ELEMENTWISE and known & set(node.inputs)
        if reads and all(value in known or array_of(value) is not None for value in node.inputs):
            derived.append(node)
            known.add(node.outputs[0])
    return derived


def _evaluate(graph: ir.Graph, origin: ir.Value, results: Sequence[ir.Value], numbers: np.ndarray) -> list[np.ndarray]:
    """`results` as ONNX Runtime computes them, elementwise, from `origin` = `numbers`, int64 (n,): an array (n,) each."""
    part = ir.convenience.extract(graph, [origin], results)
    for value in (*part.inputs, *(output for node in part for output in node.outputs)):
        value.shape = None
    part.inputs[0].shape = ir.Shape(numbers.shape)
    model = ir.Model(part, ir_version=10)
    session = plain_session(ir.to_proto(model).SerializeToString(), threads=1)  # a few thousand elements at most
    arrays: list[np.ndarray] = session.run(None, {part.inputs[0].name: numbers})
    return arrays
