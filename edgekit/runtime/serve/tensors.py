"""Tensors of the Open Inference Protocol, as JSON or in Triton's binary extension: input texts, and output columns.

https://github.com/kserve/open-inference-protocol and triton-inference-server/server, docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.serve.message import Refusal, check_names

__all__ = ["Column", "read_texts", "write_columns"]

KEYS = ("name", "shape", "datatype", "parameters", "data")
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


def read_texts(tensor: object, where: str, batch: int, blob: memoryview) -> tuple[str, list[str | bytes], int]:
    """(name, texts, bytes taken from `blob`) of one input tensor of shape [n] or [n, 1] with 1 <= n <= `batch`.

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
        raise Refusal(400, f"datatype {tensor.get('datatype')!r}", where=f"{where}.datatype", fix="send texts, datatype BYTES")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise Refusal(400, f"shape {str(shape)[:60]} is not a list of whole numbers from 0 on", where=f"{where}.shape")
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]) or not shape[0]:
        raise Refusal(400, f"shape {str(shape)[:60]}", where=f"{where}.shape", fix="send [n] or [n, 1] with at least one text")
    if shape[0] > batch:
        raise Refusal(413, f"{shape[0]:,} texts are more than {batch}", where=f"{where}.shape", fix="send several requests")
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Refusal(400, "parameters are not an object", where=f"{where}.parameters")
    check_names(parameters, ("binary_data_size",), f"{where}.parameters")
    size = parameters.get("binary_data_size")
    if size is None:
        return name, _json_texts(tensor.get("data"), shape, f"{where}.data"), 0
    if type(size) is not int or not 0 <= size <= len(blob) or "data" in tensor:
        raise Refusal(
            400, f"binary_data_size {str(size)[:40]} with {len(blob)} bytes of binary data left", where=f"{where}.parameters",
            fix="send `data`, or binary_data_size and the header Inference-Header-Content-Length",
        )  # fmt: skip
    return name, _binary_texts(blob[:size], shape[0], where), size


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


def _json_texts(data: object, shape: list[int], where: str) -> list[str | bytes]:
    if not isinstance(data, list):
        raise Refusal(400, "no list of texts", where=where, fix='give "data": ["...", ...]')
    if len(shape) == 2 and all(isinstance(row, list) for row in data):
        data = [text for row in data for text in row]
    wrong = next((number for number, text in enumerate(data) if not isinstance(text, str)), None)
    if wrong is not None:
        raise Refusal(400, f"not a text but {type(data[wrong]).__name__}", where=f"{where}[{wrong}]")
    if len(data) != prod(shape):
        raise Refusal(400, f"{len(data)} texts, but the shape is {shape}", where=where)
    return [*data]


def _binary_texts(blob: memoryview, count: int, where: str) -> list[str | bytes]:
    texts: list[str | bytes] = []
    position = 0
    while position < len(blob) and len(texts) <= count:
        if position + 4 > len(blob):
            break
        (size,) = struct.unpack_from("<I", blob, position)
        texts.append(bytes(blob[position + 4 : position + 4 + size]))
        position += 4 + size
    if position != len(blob) or len(texts) != count:
        raise Refusal(400, f"the binary data is not {count} texts, each after its length in 4 bytes", where=where)
    return texts
