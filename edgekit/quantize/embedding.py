"""Embedding tables in 8 or 4 bits, a scale for each block of a row, looked up and restored by one operator.

`GatherBlockQuantized` (contrib_ops/cpu/quantization/gather_block_quantized.cc) reads the rows that are asked for and
nothing else, so the table never exists in float32. Rows that are equal are stored once, behind a small table of row numbers.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx_ir as ir

from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.onnx_graph.rewrite import replace
from edgekit.quantize.weights import packed

__all__ = ["block_quantize", "quantize_embeddings"]

SMALLEST = 65_536
"""Tables with fewer numbers stay in float32: they are a small part of the file."""


AT_ONCE = 4096
"""Rows that are rounded at a time, so that memory holds the table and little more."""
MOSTLY_EQUAL = 0.95
"""Equal rows are stored once where that leaves fewer than this share of the rows."""


def block_quantize(table: np.ndarray, block: int, bits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (rows, width * bits / 8) around 2^(bits - 1) and float32 scales (rows, width / block) of float32 `table`."""
    rows, width = table.shape
    limit = 2 ** (bits - 1) - 1
    values = np.empty((rows, width * bits // 8), dtype=np.uint8)
    scales = np.empty((rows, width // block), dtype=np.float32)
    for start in range(0, rows, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        blocks = table[part].reshape(-1, width // block, block)
        scales[part] = np.maximum(np.abs(blocks).max(axis=2), 1e-12).astype(np.float32) / np.float32(limit)
        whole = np.clip(np.rint(blocks / scales[part][:, :, None]), -limit, limit).astype(np.int8)
        values[part] = packed(whole.reshape(-1, width), bits)
    return values, scales


def quantize_embeddings(graph: ir.Graph, storage: Literal["int8", "int4", "float32"]) -> int:
    """Replace row lookups in large float32 tables by lookups in tables stored in 8 or 4 bits; returns how many: none in float32."""
    if storage == "float32":
        return 0
    bits = 4 if storage == "int4" else 8
    count = 0
    for node in list(graph):
        if node.op_type != "Gather" or node.attributes.get("axis", ir.AttrInt64("axis", 0)).as_int() != 0:
            continue
        table = array_of(node.inputs[0])
        if table is None or table.ndim != 2 or table.dtype != np.float32 or table.size < SMALLEST:
            continue
        block = next((size for size in ((128, 64, 32, 16) if bits == 8 else (32, 16)) if table.shape[1] % size == 0), None)
        if block is None:
            continue
        name = node.inputs[0].name or node.name
        indices, made = node.inputs[1], []
        if len({hash(row.tobytes()) for row in table}) < MOSTLY_EQUAL * len(table):
            unique, numbers = np.unique(table, axis=0, return_inverse=True)
            numbered = add_initializer(graph, f"{name}.row", numbers.reshape(-1).astype(np.int32))
            made = [ir.node("Gather", [numbered, indices], name=f"{node.name}.row")]
            table, indices = unique, made[0].outputs[0]
        values, scales = block_quantize(table, block, bits)
        new = ir.node(
            "GatherBlockQuantized",
            [
                add_initializer(graph, f"{name}.int{bits}", values),
                indices,
                add_initializer(graph, f"{name}.int{bits}.scale", scales),
            ],
            {"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1},
            domain=MICROSOFT,
            name=f"{node.name}.int{bits}",
        )
        replace(graph, [node], [*made, new], new.outputs[0])
        count += 1
    return count
