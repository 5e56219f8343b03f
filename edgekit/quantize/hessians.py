"""Sums of x x' of what every linear layer of a decoder reads over calibration texts, for GPTQ; a few layers at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx_ir as ir
from threadpoolctl import threadpool_limits

from edgekit.errors import BadInput
from edgekit.onnx_graph.initializers import array_of
from edgekit.onnx_graph.linear import linear_nodes
from edgekit.quantize.observe import decoder_feed
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA
from edgekit.runtime.providers.session import own_cores, plain_session

__all__ = ["hessians_of"]

AT_ONCE = 512 * 1024**2
"""Bytes of Hessians that are summed up in one walk over the texts."""
TOGETHER = 1024
"""Tokens whose x x' are summed in float32, before that is added to what there is in float64: a product over fewer is as long as its addition."""


def hessians_of(source: Path, texts: Sequence[np.ndarray], scratch: Path) -> Callable[[str], np.ndarray]:
    """A function from the name of a linear layer's input to the float64 (in, in) sum over `texts`, token ids int64 (tokens,) each.

    Asked in the graph's order it walks over the texts once for every group of linear layers that fits the memory cap.

    Raises:
        BadInput: no texts.
    """
    if not texts or not any(len(ids) for ids in texts):
        raise BadInput("no calibration rows with tokens in them", where="calibration", fix="give training rows that hold text")
    scratch.mkdir(parents=True, exist_ok=True)
    sizes = _inputs(ir.load(source / MODEL).graph)
    names = list(sizes)
    held: dict[str, np.ndarray] = {}

    def find(name: str) -> np.ndarray:
        if name not in held:
            held.clear()
            group: list[str] = []
            for later in names[names.index(name) :]:
                if group and 8 * sum(sizes[member] ** 2 for member in [*group, later]) > AT_ONCE:
                    break
                group.append(later)
            held.update(_summed(source, group, texts, scratch))
        return np.asarray(held[name])

    return find


def _inputs(graph: ir.Graph) -> dict[str, int]:
    """What each linear layer reads -> its width, in the graph's order; a head that is the embedding transposed is one of them."""
    widths = {str(linear.node.inputs[0].name): linear.weight.shape[0] for linear in linear_nodes(graph)}
    for node in graph:
        if node.op_type == "FusedMatMul" and (table := array_of(node.inputs[1])) is not None:
            widths[str(node.inputs[0].name)] = table.shape[1]
    return widths


def _summed(source: Path, names: list[str], texts: Sequence[np.ndarray], scratch: Path) -> dict[str, np.ndarray]:
    """One walk over the texts with `names` as the graph's only outputs."""
    model = ir.load(source / MODEL)
    produced = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.clear()
    for name in names:
        produced[name].dtype = ir.DataType.FLOAT
        model.graph.outputs.append(produced[name])
    if not (scratch / MODEL_DATA).exists():
        shutil.copyfile(source / MODEL_DATA, scratch / "copied")  # readers refuse data files with several links
        os.replace(scratch / "copied", scratch / MODEL_DATA)  # whole, wherever an earlier run was killed
    path = scratch / "observed.onnx"
    ir.save(model, path)  # the weights stay in the data file beside it
    session = plain_session(path, config={"session.intra_op.allow_spinning": "0"})  # its threads wait while sums are made
    sums: dict[str, np.ndarray] = {}
    held: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def add(name: str) -> None:
        rows = np.concatenate(held.pop(name))
        if name not in sums:
            sums[name] = np.zeros((rows.shape[1], rows.shape[1]))
        sums[name] += rows.T @ rows

    # one thread a sum: those of one product would spin while they wait for one another, and for ONNX Runtime's
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(own_cores()) as pool:
        for number, ids in enumerate(texts):
            for name, value in zip(names, session.run(names, decoder_feed(session, ids, keep=len(ids))), strict=True):
                held[name].append(value.reshape(-1, value.shape[-1]))
            if number + 1 == len(texts) or sum(map(len, held[names[0]])) >= TOGETHER:
                list(pool.map(add, names))
                held = {name: [] for name in names}
    path.unlink()
    return sums
