"""Does every number of a decoder fit float16? Its largest is 65,504, and what a GPU makes of a larger one is infinity.

A CPU that stands in for the GPU multiplies in float32 and would never show it, so the float32 graph is asked beforehand: the
largest magnitude of each node's output over calibration texts. Attention's inner sums are float32 on the GPU too.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.errors import BadInput, CheckFailed
from edgekit.quantize.observe import decoder_feed
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA
from edgekit.runtime.providers.session import plain_session

__all__ = ["LARGEST", "check_range"]

LARGEST = 65_504.0
MARGIN = 2
"""Other texts may give larger numbers than the calibration's: this much room is left."""


def check_range(source: Path, texts: Sequence[np.ndarray], scratch: Path) -> float:
    """The largest magnitude of any number in the float32 decoder in folder `source` over `texts`, token ids int64 (n,) each.

    Raises:
        BadInput: no texts.
        CheckFailed: numbers beyond half of float16's largest; the message names the nodes that give them.
    """

    if not any(len(ids) for ids in texts):
        raise BadInput("no calibration rows with tokens in them", where="calibration", fix="give training rows that hold text")
    scratch.mkdir(parents=True, exist_ok=True)
    path, nodes = _observed(source, scratch)
    session = plain_session(path, named=True)
    largest = np.zeros(len(nodes))
    for ids in filter(len, texts):
        magnitudes = session.run(list(nodes), decoder_feed(session, ids, keep=len(ids)))
        largest = np.maximum(largest, np.asarray(magnitudes, dtype=np.float64))  # NaN stays
    path.unlink()
    (scratch / MODEL_DATA).unlink()
    beyond = [
        f"{node}: {value:,.0f}" for node, value in zip(nodes.values(), largest, strict=True) if not value <= LARGEST / MARGIN
    ]
    if beyond:
        raise CheckFailed(
            f"{len(beyond)} values come near float16's {LARGEST:,.0f} or pass it", where=str(source), faults=beyond[:20],
            fix="this model is for a target whose activations are float32",
        )  # fmt: skip
    return float(largest.max())


def _observed(source: Path, scratch: Path) -> tuple[Path, dict[str, str]]:
    """(the graph with the largest magnitudes for outputs, the node that makes each of them)."""
    model = ir.load(source / MODEL)
    graph = model.graph
    shutil.copyfile(source / MODEL_DATA, scratch / MODEL_DATA)  # readers refuse data files with several links
    nodes: dict[str, str] = {}
    numbers = {value for value in (*graph.inputs, *graph.initializers.values()) if value.dtype == ir.DataType.FLOAT}
    outputs = list(graph.outputs)
    graph.outputs.clear()
    for node in list(graph):
        if not numbers & set(node.inputs):  # ids, lengths and shapes
            continue
        for value in node.outputs:
            if not (value.uses() or value in outputs):
                continue
            numbers.add(value)
            size = ir.node("Abs", [value], name=f"{value.name}.size")
            most = ir.node("ReduceMax", [size.outputs[0]], {"keepdims": 0}, name=f"{value.name}.most")
            most.outputs[0].name, most.outputs[0].dtype = f"{value.name}.most", ir.DataType.FLOAT
            graph.extend([size, most])
            graph.outputs.append(most.outputs[0])
            nodes[f"{value.name}.most"] = str(node.name or value.name)
    ir.save(model, scratch / "observed.onnx")  # the weights stay in the data file beside it
    return scratch / "observed.onnx", nodes
