"""Rotary position embeddings of a packed query, key and value, as ModernBERT has them, as one operator each."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.match import producer_of, sole_reader, upstream
from edgekit.onnx_graph.operators import MICROSOFT

__all__ = ["fuse_rotary_embeddings"]


def fuse_rotary_embeddings(model: ir.Model, max_length: int) -> int:
    """Rotations of a packed query and key as RotaryEmbedding, without transposing them to heads and back.

    x * cos + concat(-x2, x1) * sin with angles position * frequency (Su et al. 2021, equation 34). The tables of cosines and sines
    have `max_length` rows.
    """
    graph, count = model.graph, 0
    tables: dict[str | None, list[ir.Value]] = {}
    for node in [item for item in graph if item.op_type == "MultiHeadAttention"]:
        query, key = (_rotation(upstream(value, "Reshape", "Transpose")) for value in node.inputs[:2])
        frequencies = array_of(query[1]) if query is not None else None
        if query is None or key is None or query[1] is not key[1] or frequencies is None:
            continue
        thirds = [_third(upstream(query[0], "Transpose")), _third(upstream(key[0], "Transpose"))]
        thirds.append(_third(upstream(node.inputs[2], "Reshape")))
        if [index for _, index in thirds] != [0, 1, 2] or any(packed is not thirds[0][0] for packed, _ in thirds):
            continue
        name = query[1].name
        if name not in tables:
            angles = np.arange(max_length, dtype=np.float32)[:, None] * frequencies.ravel()
            tables[name] = [
                add_initializer(graph, f"{name}.{function.__name__}", function(angles)) for function in (np.cos, np.sin)
            ]
            tables[name].insert(0, add_initializer(graph, f"{name}.start", np.array([0])))
        split = ir.node("Split", [thirds[0][0]], {"axis": -1, "num_outputs": 3}, num_outputs=3, name=f"{node.name}.split")
        rotated = [ir.node("RotaryEmbedding", [part, *tables[name]], domain=MICROSOFT) for part in split.outputs[:2]]
        graph.insert_before(node, [split, *rotated])
        for index, value in enumerate((rotated[0].outputs[0], rotated[1].outputs[0], split.outputs[2])):
            node.replace_input_with(index, value)
        merged = sole_reader(sole_reader(node, "Reshape"), "Reshape")
        if merged is not None and merged.outputs[0].shape is not None and len(merged.outputs[0].shape) == 3:
            merged.outputs[0].replace_all_uses_with(node.outputs[0])
        count += 1
    return count


def _rotation(value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    """(x, frequencies) where `value` is x * cos + concat(-x2, x1) * sin, by position."""
    total = producer_of(value, "Add")
    terms = [producer_of(item, "Mul") for item in total.inputs] if total is not None else []
    swapped = producer_of(terms[1].inputs[0], "Concat") if len(terms) == 2 and terms[1] is not None else None
    if swapped is None or terms[0] is None or terms[1] is None:
        return None
    halves = [upstream(swapped.inputs[0], "Neg", "Slice"), upstream(swapped.inputs[1], "Slice")]
    angles = [upstream(terms[0].inputs[1], "Unsqueeze", "Cos"), upstream(terms[1].inputs[1], "Unsqueeze", "Sin")]
    doubled = producer_of(angles[0], "Concat")
    angle = producer_of(doubled.inputs[0], "Mul") if doubled is not None else None
    frequencies = angle.inputs[1] if angle is not None else None
    x = terms[0].inputs[0]
    if x is None or frequencies is None or halves != [x, x] or angles[1] is not angles[0]:
        return None
    return x, frequencies


def _third(value: ir.Value | None) -> tuple[ir.Value | None, int]:
    """(packed, index) where `value` is one third of `packed`, (b, s, 3 * hidden), seen as (b, s, 3, heads, size); else index -1."""
    cut = producer_of(upstream(value, "Squeeze"), "Slice")
    start = array_of(cut.inputs[1]) if cut is not None else None
    return (None, -1) if cut is None or start is None else (upstream(cut.inputs[0], "Reshape"), int(start.item()))
