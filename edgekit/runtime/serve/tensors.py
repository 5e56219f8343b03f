"""Tensors of the Open Inference Protocol, as JSON or in Triton's binary extension: inputs, and output columns.

https://github.com/kserve/open-inference-protocol and triton-inference-server/server, docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.reader import Reads
from edgekit.runtime.serve.message import Refusal, check_names

__all__ = ["Column", "read_inputs", "write_columns"]

KEYS = ("name", "shape", "datatype", "parameters", "data")
AN: Mapping[Reads, str] = {"text": "a text", "image": "an image", "sound": "a sound"}
DTYPES = {"FP32": "<f4", "INT64": "<i8", "BOOL": "?"}


@dataclass(frozen=True)
class Column:
    """One named output."""

    name: str
    datatype: str
    """BYTES, FP32, INT64 or BOOL."""
    shape: tuple[int, ...]
    data: Sequence[JsonValue]
    """Row by row; texts where the datatype is BYTES."""

    def binary(self) -> bytes:
        """In the binary extension's format: little-endian; each text after its length in 4 bytes."""
        if self.datatype == "BYTES":
            encoded = [str(text).encode("utf-8", "replace") for text in self.data]
            return b"".join(struct.pack("<I", len(text)) + text for text in encoded)
        return np.asarray(self.data, dtype=DTYPES[self.datatype]).tobytes()


def read_inputs(
    tensor: object, where: str, batch: int, blob: memoryview, reads: Reads = "text"
) -> tuple[str, list[str | bytes], int]:
    """(name, texts or what a model `reads` else, bytes taken from `blob`) of one input tensor of shape [n] or [n, 1] with 1 <= n <= `batch`.

    Raises:
        Refusal: 400, or 413 where n is larger.
    """
    if not isinstance(tensor, dict):
        raise Refusal(400, f"a tensor object is wanted, not {type(tensor).__name__}", where=where)
    check_names(tensor, KEYS, where)
    name = tensor.get("name")
    if not isinstance(name, str):
        raise Refusal(400, "a tensor needs a name", where=f"{where}.name")
    if tensor.get("datatype") != "BYTES":
        raise Refusal(
            400, f"datatype {tensor.get('datatype')!r}", where=f"{where}.datatype", fix=f"send {reads}s, datatype BYTES"
        )
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise Refusal(400, f"shape {str(shape)[:60]} is not a list of whole numbers from 0 on", where=f"{where}.shape")
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]) or not shape[0]:
        raise Refusal(
            400, f"shape {str(shape)[:60]}", where=f"{where}.shape", fix=f"send [n] or [n, 1] with at least one {reads}"
        )
    if shape[0] > batch:
        raise Refusal(413, f"{shape[0]:,} {reads}s are more than {batch}", where=f"{where}.shape", fix="send several requests")
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Refusal(400, "parameters are not an object", where=f"{where}.parameters")
    check_names(parameters, ("binary_data_size",), f"{where}.parameters")
    size = parameters.get("binary_data_size")
    if size is None:
        return name, _of_json(tensor.get("data"), shape, f"{where}.data", reads), 0
    if type(size) is not int or not 0 <= size <= len(blob) or "data" in tensor:
        raise Refusal(
            400, f"binary_data_size {str(size)[:40]} with {len(blob)} bytes of binary data left", where=f"{where}.parameters",
            fix="send `data`, or binary_data_size and the header Inference-Header-Content-Length",
        )  # fmt: skip
    return name, _of_binary(blob[:size], shape[0], where, reads), size


def write_columns(columns: list[Column], binary: set[str]) -> tuple[list[JsonObject], bytes]:
    """(output tensors, bytes that follow the JSON: the data of those named in `binary`)."""
    documents: list[JsonObject] = []
    parts = []
    for column in columns:
        document: dict[str, JsonValue] = {"name": column.name, "datatype": column.datatype, "shape": list(column.shape)}
        if column.name in binary:
            parts.append(column.binary())
            document["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            document["data"] = column.data
        documents.append(document)
    return documents, b"".join(parts)


def _of_json(data: object, shape: list[int], where: str, reads: Reads) -> list[str | bytes]:
    as_base64 = "" if reads == "text" else " as base64 text"
    if not isinstance(data, list):
        raise Refusal(400, f"no list of {reads}s{as_base64}", where=where, fix='give "data": ["...", ...]')
    if len(shape) == 2 and all(isinstance(row, list) for row in data):
        data = [one for row in data for one in row]
    wrong = next((number for number, one in enumerate(data) if not isinstance(one, str)), None)
    if wrong is not None:
        raise Refusal(400, f"not {AN[reads]}{as_base64} but {type(data[wrong]).__name__}", where=f"{where}[{wrong}]")
    if len(data) != prod(shape):
        raise Refusal(400, f"{len(data)} {reads}s, but the shape is {shape}", where=where)
    return [*data]


def _of_binary(blob: memoryview, count: int, where: str, reads: Reads) -> list[str | bytes]:
    found: list[str | bytes] = []
    position = 0
    while position < len(blob) and len(found) <= count:
        if position + 4 > len(blob):
            break
        (size,) = struct.unpack_from("<I", blob, position)
        found.append(bytes(blob[position + 4 : position + 4 + size]))
        position += 4 + size
    if position != len(blob) or len(found) != count:
        raise Refusal(400, f"the binary data is not {count} {reads}s, each after its length in 4 bytes", where=where)
    return found
