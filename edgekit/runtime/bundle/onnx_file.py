"""An ONNX file's own words, read strictly: its graph without the weights, which are stepped over and never copied.

The runtime has no `onnx` package, and its parser would build every tensor. This reads the wire format of protobuf (varints and
lengths) for the messages of onnx.proto3 that a bundle can hold, in one pass: a field that they do not have, a field twice that there is
once, a length that leaves its message, and more fields than any bundle has are faults. Subgraphs, functions, training, sparse and
sequence types are named in the refusal.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from edgekit.runtime.errors import BadInput

__all__ = ["DTYPES", "LARGEST", "Axis", "GraphFile", "Node", "OVER_ALL_ROWS", "Tensor", "Value", "read_graph"]

LARGEST = 2**31
"""Bytes: protobuf holds no more."""
MOST_FIELDS = 1_000_000
"""Of all messages together; a decoder of a hundred layers has a tenth."""
LONGEST_NAME = 1024
FEW = 64
"""Values of an integer tensor that are read, where it has no more: shapes, axes, sizes."""

DTYPES = {
    1: ("float32", 4), 2: ("uint8", 1), 3: ("int8", 1), 5: ("int16", 2), 6: ("int32", 4), 7: ("int64", 8), 9: ("bool", 1),
    10: ("float16", 2), 11: ("float64", 8), 16: ("bfloat16", 2),
}  # fmt: skip
"""TensorProto.DataType: its name, and bytes of an element; those that no bundle has are left out."""

OVER_ALL_ROWS = ("DynamicQuantizeMatMul", "DynamicQuantizeLinear")
"""Operators that round by a range which they find over all rows of a run."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Axis: TypeAlias = str | int
Bytes: TypeAlias = mmap.mmap | bytes
Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Tensor:
    """One initializer, without its values."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: tuple[int, ...] | None = None
    """Of a small integer tensor."""
    file: str | None = None
    """The file beside the graph that holds its values; None where the graph does."""
    end: int = 0
    """Bytes of `file` that must be there."""


@dataclass(frozen=True)
class Value:
    """One input or output of the graph."""

    name: str
    dtype: str
    axes: tuple[Axis, ...] | None
    """Names of dynamic axes ("" where they have none), sizes of the others; None where the graph does not say how many there are."""


@dataclass(frozen=True)
class Node:
    """One operator."""

    domain: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Its attributes that are one number."""
    lists: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Its attributes that are whole numbers."""


@dataclass(frozen=True)
class GraphFile:
    """The graph and what it was written for."""

    ir_version: int
    opsets: Mapping[str, int]
    """Version of each domain; "" is ONNX's own."""
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    initializers: Mapping[str, Tensor] = field(default_factory=dict)


class _Refused(ValueError):
    """A file that is not such a graph."""


def read_graph(path: Path) -> GraphFile:
    """The graph in the ONNX file `path`, in time that depends on its nodes and initializers, not on its size.

    Raises:
        BadInput: it is no ONNX graph such as bundles hold; the message says which part.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if not 0 < size < LARGEST:
                raise _Refused("empty, or larger than 2 GiB")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(data).model((0, size))
    except OSError as fault:
        raise BadInput(f"cannot be read: {fault.strerror}", where=str(path)) from None
    except _Refused as fault:
        raise BadInput(f"not a graph that a bundle can hold: {fault}", where=str(path)) from None


Kind: TypeAlias = tuple[str, int, bool]
"""Of a field: its name, its wire type, and whether it may be repeated; name "" for those that are stepped over."""
MODEL: Mapping[int, Kind] = {
    1: ("ir_version", VARINT, False), 2: ("", BYTES, False), 3: ("", BYTES, False), 4: ("", BYTES, False), 5: ("", VARINT, False),
    6: ("", BYTES, False), 7: ("graph", BYTES, False), 8: ("opset", BYTES, True), 14: ("", BYTES, True),
}  # fmt: skip
OPSET: Mapping[int, Kind] = {1: ("domain", BYTES, False), 2: ("version", VARINT, False)}
GRAPH: Mapping[int, Kind] = {
    1: ("node", BYTES, True), 2: ("", BYTES, False), 5: ("initializer", BYTES, True), 10: ("", BYTES, False), 11: ("input", BYTES, True),
    12: ("output", BYTES, True), 13: ("", BYTES, True), 14: ("", BYTES, True), 16: ("", BYTES, True),
}  # fmt: skip
NODE: Mapping[int, Kind] = {
    1: ("input", BYTES, True), 2: ("output", BYTES, True), 3: ("name", BYTES, False), 4: ("operator", BYTES, False),
    5: ("attribute", BYTES, True), 6: ("", BYTES, False), 7: ("domain", BYTES, False), 9: ("", BYTES, True),
}  # fmt: skip
ATTRIBUTE: Mapping[int, Kind] = {
    1: ("name", BYTES, False), 2: ("float", FIXED32, False), 3: ("int", VARINT, False), 4: ("", BYTES, False), 7: ("", BYTES, True),
    8: ("ints", BYTES, True), 13: ("", BYTES, False), 20: ("type", VARINT, False),
}  # fmt: skip
TENSOR: Mapping[int, Kind] = {
    1: ("dims", BYTES, True), 2: ("dtype", VARINT, False), 4: ("floats", BYTES, False), 5: ("int32s", BYTES, False),
    7: ("int64s", BYTES, False), 8: ("name", BYTES, False), 9: ("raw", BYTES, False), 12: ("", BYTES, False), 13: ("external", BYTES, True),
    14: ("location", VARINT, False), 16: ("", BYTES, True),
}  # fmt: skip
ENTRY: Mapping[int, Kind] = {1: ("key", BYTES, False), 2: ("value", BYTES, False)}
VALUE: Mapping[int, Kind] = {1: ("name", BYTES, False), 2: ("type", BYTES, False), 3: ("", BYTES, False), 4: ("", BYTES, True)}
TYPE: Mapping[int, Kind] = {1: ("tensor", BYTES, False), 6: ("", BYTES, False)}
TENSOR_TYPE: Mapping[int, Kind] = {1: ("dtype", VARINT, False), 2: ("shape", BYTES, False)}
SHAPE: Mapping[int, Kind] = {1: ("axis", BYTES, True)}
AXIS: Mapping[int, Kind] = {1: ("size", VARINT, False), 2: ("name", BYTES, False), 3: ("", BYTES, False)}
REFUSED = {
    ("model", 20): "training", ("model", 25): "functions", ("model", 26): "a configuration of devices", ("graph", 15): "sparse initializers",
    ("node", 8): "overloads of functions", ("node", 10): "a configuration of devices", ("attribute", 5): "tensors as attributes",
    ("attribute", 6): "subgraphs", ("attribute", 10): "tensors as attributes", ("attribute", 11): "subgraphs",
    ("attribute", 9): "lists of texts as attributes", ("attribute", 14): "types as attributes", ("attribute", 15): "types as attributes",
    ("attribute", 21): "attributes of functions", ("attribute", 22): "sparse tensors", ("attribute", 23): "sparse tensors",
    ("tensor", 3): "segments of tensors", ("tensor", 6): "tensors of texts", ("tensor", 10): "doubles outside raw_data",
    ("tensor", 11): "tensors of unsigned 64-bit integers", ("type", 4): "sequences", ("type", 5): "maps", ("type", 8): "sparse tensors",
    ("type", 9): "optional values", ("type", 7): "opaque values",
}  # fmt: skip
"""What a field that no bundle has would bring, by message and number."""
KINDS = {1: "float", 2: "int", 3: "string", 6: "floats", 7: "ints"}
"""AttributeProto.AttributeType, of those that bundles have."""


class _Reader:
    """A pass over one file. Spans are [start, end) of `data`."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self.left = MOST_FIELDS

    def model(self, span: Span) -> GraphFile:
        found = self.message(span, "model", MODEL)
        if "graph" not in found:
            raise _Refused("no graph")
        opsets: dict[str, int] = {}
        for one in found.get("opset", ()):
            opset = self.message(one, "opset", OPSET)
            domain = self.text(opset.get("domain"))
            if domain in opsets:
                raise _Refused(f"two opsets of domain {domain!r}")
            opsets[domain] = opset.get("version", 0)
        graph = self.message(found["graph"], "graph", GRAPH)
        tensors: dict[str, Tensor] = {}
        for one in graph.get("initializer", ()):
            tensor = self.tensor(one)
            if tensor.name in tensors:
                raise _Refused(f"two initializers {tensor.name!r}")
            tensors[tensor.name] = tensor
        return GraphFile(
            found.get("ir_version", 0),
            opsets,
            tuple(self.value(one) for one in graph.get("input", ())),
            tuple(self.value(one) for one in graph.get("output", ())),
            tuple(self.node(one) for one in graph.get("node", ())),
            tensors,
        )

    def node(self, span: Span) -> Node:
        found = self.message(span, "node", NODE)
        numbers: dict[str, float] = {}
        lists: dict[str, tuple[int, ...]] = {}
        for one in found.get("attribute", ()):
            attribute = self.message(one, "attribute", ATTRIBUTE)
            name = self.text(attribute.get("name"))
            if attribute.get("type") not in KINDS:
                raise _Refused(f"attribute {name!r} of a kind that no bundle has")
            if "int" in attribute:
                numbers[name] = _signed(attribute["int"])
            elif "float" in attribute:
                (numbers[name],) = struct.unpack("<f", self.data[slice(*attribute["float"])])
            elif "ints" in attribute:
                each = ([part] if isinstance(part, int) else self.varints(part, FEW) for part in attribute["ints"])
                lists[name] = tuple(_signed(value) for values in each for value in values)
        return Node(
            self.text(found.get("domain")),
            self.text(found.get("operator")),
            tuple(self.text(one) for one in found.get("input", ())),
            tuple(self.text(one) for one in found.get("output", ())),
            self.text(found.get("name")),
            numbers,
            lists,
        )

    def value(self, span: Span) -> Value:
        found = self.message(span, "value", VALUE)
        name = self.text(found.get("name"))
        kind = self.message(found.get("type", (0, 0)), "type", TYPE)
        tensor = self.message(kind.get("tensor", (0, 0)), "tensor type", TENSOR_TYPE)
        axes: list[Axis] | None = None
        if "shape" in tensor:
            axes = []
            for one in self.message(tensor["shape"], "shape", SHAPE).get("axis", ()):
                axis = self.message(one, "axis", AXIS)
                axes.append(_signed(axis["size"]) if "size" in axis else self.text(axis.get("name")))
        return Value(name, _dtype(tensor.get("dtype", 0), name)[0], None if axes is None else tuple(axes))

    def tensor(self, span: Span) -> Tensor:
        found = self.message(span, "tensor", TENSOR)
        name = self.text(found.get("name"))
        dtype, size = _dtype(found.get("dtype", 0), name)
        shape: list[int] = []
        for one in found.get("dims", ()):
            shape += [_signed(value) for value in ([one] if isinstance(one, int) else self.varints(one, FEW))]
        count = 1
        for dimension in shape:
            if dimension < 0:
                raise _Refused(f"initializer {name!r} of shape {shape}")
            count *= dimension
        held = [key for key in ("floats", "int32s", "int64s", "raw", "external") if key in found]
        if len(held) > 1 or (count and not held) or (found.get("location", 0) == 1) != (held == ["external"]):
            raise _Refused(f"initializer {name!r}: its values are in {' and '.join(held) or 'no place'}")
        if held == ["external"]:
            return self.external(name, dtype, tuple(shape), count * size, found["external"])
        start, end = found[held[0]] if held else (0, 0)
        if held in (["raw"], ["floats"]) and end - start != count * (4 if held == ["floats"] else size):
            raise _Refused(f"initializer {name!r}: {end - start} bytes for {count} values of {dtype}")
        if (held == ["floats"] and dtype != "float32") or (held == ["int64s"] and dtype != "int64"):
            raise _Refused(f"initializer {name!r}: {held[0]} for {dtype}")
        values = None
        if dtype in ("int32", "int64") and count <= FEW:
            if held == ["raw"]:
                values = struct.unpack(f"<{count}{'q' if size == 8 else 'i'}", self.data[start:end])
            else:
                values = tuple(_signed(value) for value in self.varints((start, end), count))
                if len(values) != count:
                    raise _Refused(f"initializer {name!r}: {len(values)} values for shape {shape}")
        elif held in (["int32s"], ["int64s"]) and not count <= end - start <= 10 * count:
            raise _Refused(f"initializer {name!r}: {end - start} bytes for {count} values of {dtype}")
        return Tensor(name, dtype, tuple(shape), values)

    def external(self, name: str, dtype: str, shape: tuple[int, ...], size: int, entries: list[Span]) -> Tensor:
        """A tensor whose values lie in a file beside the graph."""
        found: dict[str, str] = {}
        for one in entries:
            entry = self.message(one, "entry", ENTRY)
            key = self.text(entry.get("key"))
            if key in found or key not in ("location", "offset", "length", "checksum"):
                raise _Refused(f"initializer {name!r}: external data with {key!r}, or with it twice")
            found[key] = self.text(entry.get("value"))
        numbers = [found.get("offset", "0"), found.get("length", str(size))]
        if not all(number.isascii() and number.isdigit() and len(number) < 20 for number in numbers):
            raise _Refused(f"initializer {name!r}: external data at {numbers[0]!r} of {numbers[1]!r} bytes")
        offset, length = map(int, numbers)
        if "location" not in found or length != size:
            raise _Refused(f"initializer {name!r}: {length} bytes of external data for {size}, or in no file")
        return Tensor(name, dtype, shape, None, found["location"], offset + length)

    def message(self, span: Span, kind: str, known: Mapping[int, Kind]) -> dict[str, Any]:
        """The fields of one message by name: numbers, spans, or lists of them where they may be repeated."""
        at, end = span
        found: dict[str, Any] = {}
        seen = 0
        while at < end:
            tag, at = self.varint(at, end)
            number, wire = tag >> 3, tag & 7
            item: int | Span
            if wire == BYTES:
                size, at = self.varint(at, end)
                item = (at, at + size)
                at += size
            elif wire == VARINT:
                item, at = self.varint(at, end)
            elif wire in (FIXED32, FIXED64):
                size = 4 if wire == FIXED32 else 8
                item = (at, at + size)
                at += size
            else:
                raise _Refused(f"{kind} with a field of wire type {wire}")
            if at > end:
                raise _Refused(f"{kind} that is cut off, or a length that leaves it")
            self.left -= 1
            if self.left < 0:
                raise _Refused(f"more than {MOST_FIELDS:,} fields")
            if number not in known:
                what = REFUSED.get((kind, number))
                raise _Refused(f"{what}, which no bundle has" if what else f"{kind} with an unknown field {number}")
            name, wanted, repeated = known[number]
            if wire != wanted and not (
                repeated and wanted == BYTES and wire in (VARINT, FIXED32)
            ):  # repeated numbers, not packed
                raise _Refused(f"{kind} with field {number} of wire type {wire}")
            if not repeated:
                if seen >> number & 1:
                    raise _Refused(f"{kind} with field {number} twice")
                seen |= 1 << number
                if name:
                    found[name] = item
            elif name:
                if wire != wanted and (wire != VARINT or name not in ("dims", "ints")):
                    raise _Refused(f"{kind} with field {number} of wire type {wire}")
                found.setdefault(name, []).append(item)
        return found

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """(unsigned value below 2^64, where the next byte is)."""
        if at >= end:
            raise _Refused("a message that is cut off")
        value = self.data[at]
        at += 1
        if value < 0x80:
            return value, at
        value &= 0x7F
        for shift in range(7, 70, 7):
            if at >= end:
                break
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 1 << 64:
                    break
                return value, at
        raise _Refused("a number that is cut off or beyond 64 bits")

    def varints(self, span: Span, most: int) -> list[int]:
        """Packed numbers, at most `most`."""
        at, end = span
        found: list[int] = []
        while at < end:
            value, at = self.varint(at, end)
            found.append(value)
            if len(found) > most:
                raise _Refused(f"more than {most} numbers of one tensor's shape or values")
        return found

    def text(self, span: Span | None) -> str:
        if span is None:
            return ""
        start, end = span
        if end - start > LONGEST_NAME:
            raise _Refused(f"a name of {end - start:,} bytes")
        try:
            return bytes(self.data[start:end]).decode("utf-8")
        except UnicodeDecodeError:
            raise _Refused("a name that is not UTF-8") from None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _dtype(number: int, name: str) -> tuple[str, int]:
    if number not in DTYPES:
        raise _Refused(f"{name!r} is of data type {number}, which no bundle has")
    return DTYPES[number]
