"""Weights beside an ONNX file: every reference must stay within the bundle, before the bundle is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import BadInput

__all__ = ["check_external", "move_weights"]


def check_external(model: Path, sizes: Mapping[str, int]) -> None:
    """Check that every external tensor of the ONNX file `model` lies whole within one of the files `sizes` (bytes by plain name).

    Raises:
        BadInput: no ONNX file, or references that leave the bundle, a file's end, or name what is not there; all at once.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        loaded = onnx.load(str(model), load_external_data=False)
    except DecodeError:
        raise BadInput("not an ONNX file", where=str(model)) from None
    faults = []
    for tensor in _tensors(loaded):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entry = {item.key: item.value for item in tensor.external_data}
        location = entry.get("location", "")
        try:
            start = int(entry.get("offset", 0))
            length = int(entry.get("length", sizes.get(location, 0) - start))
        except ValueError:
            faults.append(f"{tensor.name}: its offset or length is no number")
            continue
        if location not in sizes:
            faults.append(f"{tensor.name}: its weights are in {location!r}, which is no file of the bundle")
        elif start < 0 or length < 0 or start + length > sizes[location]:
            faults.append(f"{tensor.name}: bytes {start:,} to {start + length:,} of {location}, which has {sizes[location]:,}")
    if faults:
        raise BadInput("external weights that no bundle may hold", where=str(model), faults=faults[:20])


def move_weights(model: Path, folder: Path, names: tuple[str, str]) -> dict[str, Path]:
    """The ONNX file `model` under the first of `names`, written into `folder`, with its weights beside it under the second: where each is.

    All of its weights lie in one file beside it, or within it.
    """
    import onnx

    graph, weights = names
    loaded = onnx.load(str(model), load_external_data=False)
    held = {}
    for tensor in _tensors(loaded):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            (location,) = (item for item in tensor.external_data if item.key == "location")
            held[weights] = model.parent / location.value
            location.value = weights
    (folder / graph).write_bytes(loaded.SerializeToString(deterministic=True))
    return {graph: folder / graph, **held}


def _tensors(model: Any) -> Iterator[Any]:
    yield from _of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _of_node(node)


def _of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _of_node(node)


def _of_node(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _of_graph(graph)
