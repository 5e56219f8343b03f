"""An embedding and the head that is its transpose as one table in 8 or 4 bits: looked up by its rows, multiplied by its columns.

`MatMulNBits` wants a weight as (out, blocks, bytes), and `GatherBlockQuantized` looks rows of any rank up: both read the same initializer,
and a Reshape after the lookup joins the blocks. What the table costs is paid once, so the head, which costs a model in 4 bits most of
what it loses (benchmarks/language_quality), has the bits of the embedding.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.config.quantize import WeightOnly
from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.onnx_graph.rewrite import replace
from edgekit.quantize.blocks import quantize_blocks
from edgekit.quantize.embedding import SMALLEST
from edgekit.quantize.weight_only import block_matmul, block_weight

__all__ = ["share_table"]


def share_table(graph: ir.Graph, settings: WeightOnly) -> int:
    """Replace lookups in the table that a head multiplies by, transposed, and that head; returns how many tables that were: none where it
    stays in float32, is small, or has rows that are no whole number of blocks."""
    if settings.embeddings == "float32":
        return 0
    bits, shared = 4 if settings.embeddings == "int4" else 8, 0
    for head in [node for node in graph if node.op_type == "FusedMatMul"]:
        value = head.inputs[1]
        table = array_of(value)
        if value is None or table is None or table.size < SMALLEST or table.shape[1] % settings.block:
            continue
        lookups = [node for node, place in value.uses() if node.op_type == "Gather" and place == 0]
        if not lookups:
            continue
        name = str(value.name)
        weight = block_weight(graph, name, quantize_blocks(np.ascontiguousarray(table.T), bits, settings.block), bits)
        scale = add_initializer(
            graph, f"{name}.lookup.scale", np.asarray(weight.scale.const_value)[:, :, None]
        )  # the kernel wants this rank
        whole = add_initializer(graph, f"{name}.lookup.shape", np.array([0, 0, table.shape[1]]))
        for lookup in lookups:
            found = ir.node(
                "GatherBlockQuantized",
                [weight.values, lookup.inputs[1], scale],
                {"bits": bits, "block_size": settings.block, "gather_axis": 0, "quantize_axis": 2},
                domain=MICROSOFT,
                name=f"{lookup.name}.int{bits}",
            )
            joined = ir.node("Reshape", [found.outputs[0], whole], name=f"{lookup.name}.joined")
            replace(graph, [lookup], [found, joined], joined.outputs[0])
        block_matmul(graph, [head], str(head.name), weight, settings.accuracy_level, None)
        graph.remove([head, *lookups], safe=True)
        shared += 1
    return shared
