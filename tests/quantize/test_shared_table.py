"""An embedding and the head that is its transpose, stored once: against float64, and what stays as it was."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.config.quantize import WeightOnly
from edgekit.onnx_graph.initializers import add_initializer
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.quantize.blocks import quantize_blocks
from edgekit.quantize.shared_table import share_table
from edgekit.runtime.providers.session import plain_session

ROWS = 1024


def tied(width: int, table: np.ndarray) -> ir.Model:
    """x = table[ids], y = x table'."""
    ids = ir.Value(name="ids", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["b", "n"]))
    graph = ir.Graph([ids], [], nodes=[], opset_imports={"": 20, MICROSOFT: 1}, name="tied")
    weight = add_initializer(graph, "embedding", table)
    lookup = ir.node("Gather", [weight, ids], name="embed")
    head = ir.node("FusedMatMul", [lookup.outputs[0], weight], {"transB": 1}, domain=MICROSOFT, name="head")
    for node, name, last in ((lookup, "x", width), (head, "y", ROWS)):
        graph.append(node)
        node.outputs[0].name = name
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["b", "n", last])
        graph.outputs.append(node.outputs[0])
    return ir.Model(graph, ir_version=10)


@pytest.mark.parametrize("embeddings", ["int8", "int4"])
@pytest.mark.parametrize("block", [32, 64])
def test_both_read_one_table(embeddings: Literal["int8", "int4"], block: Literal[32, 64]) -> None:
    table = np.random.default_rng(0).normal(size=(ROWS, 128)).astype(np.float32)
    model = tied(128, table)
    settings = WeightOnly(format="int4-weights", block=block, embeddings=embeddings, accuracy_level=0)
    assert share_table(model.graph, settings) == 1
    nodes = {node.op_type: node for node in model.graph}
    assert set(nodes) == {"GatherBlockQuantized", "Reshape", "MatMulNBits"}
    assert nodes["GatherBlockQuantized"].inputs[0] is nodes["MatMulNBits"].inputs[1]
    del model.graph.initializers["embedding"]
    ids = np.array([[3, 0, ROWS - 1], [7, 7, 5]])
    x, y = plain_session(ir.to_proto(model).SerializeToString()).run(["x", "y"], {"ids": ids})
    restored = quantize_blocks(table.T, 4 if embeddings == "int4" else 8, block).restored().T
    assert np.array_equal(x, restored[ids])
    wanted = restored[ids].astype(np.float64) @ restored.astype(np.float64).T
    assert np.abs(y - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("width", "settings"),
    [
        (96, WeightOnly(format="int8-weights", block=64)),
        (128, WeightOnly(format="int8-weights", embeddings="float32")),
        (32, WeightOnly(format="int8-weights")),
    ],
    ids=["rows of one and a half blocks", "kept in float32", "small"],
)
def test_what_is_not_shared_stays(width: int, settings: WeightOnly) -> None:
    model = tied(width, np.ones((ROWS, width), dtype=np.float32))
    assert share_table(model.graph, settings) == 0
    assert [node.op_type for node in model.graph] == ["Gather", "FusedMatMul"]
