"""What a graph costs to run, as far as it shows in the graph itself."""

from __future__ import annotations

import math
from pathlib import Path

__all__ = ["constant_multiplications"]

PRODUCTS = ("MatMul", "Gemm")


def constant_multiplications(path: Path) -> int:
    """Multiplications with constant weights that each token passes, of a float32 encoder before fusion; what attention multiplies grows
    with the input and is left out, and a head that reads one token counts as if it read all."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    return sum(
        math.prod(shapes[name])
        for node in graph.node
        if node.op_type in PRODUCTS
        for name in node.input[:2]
        if len(shapes.get(name, ())) == 2
    )
