"""Mutations of protobuf messages by their wire format, without a schema: ONNX files whose lengths are right, or wrong, on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

__all__ = ["edit_protobuf"]

DEEPEST = 6
LARGEST = 100_000
"""Bytes of a field that may be a message itself; longer ones are weights."""
SIZES = (
    0,
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    17,
    20,
    21,
    22,
    127,
    128,
    255,
    2**16,
    2**31 - 1,
    2**31,
    2**32,
    2**40,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
TEXTS = (
    b"", b"x", b"\0", b"Loop", b"If", b"Scan",
    b"Identity", b"Expand", b"ConstantOfShape", b"Reshape", b"Gather", b"RandomNormal", b"com.microsoft",
    b"ai.onnx.ml", b"batch", b"sequence", b"input_ids", b"../../etc/passwd",
    b"/dev/zero", b"location", b"offset", b"\xff\xfe", b"a" * 3000, b"Einsum",
    b"MatMulInteger", b"StringNormalizer", b"TfIdfVectorizer", b"Tile", b"Range",
)  # fmt: skip


@dataclass
class Field:
    number: int
    kind: int
    value: int | bytes | list[Field]
    wrong: int | None = None
    """A length that is written in place of the right one."""


def edit_protobuf(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A field left out, doubled, exchanged for another, renumbered, with another number, text or length."""
    message = _parsed(data, 0)
    if not message:
        return data
    lists = _lists(message)
    fields = random.choice(lists)
    at = random.randrange(len(fields))
    field = fields[at]
    choice = random.randrange(9)
    if choice == 0:
        del fields[at]
    elif choice == 1:
        fields[at:at] = [field] * random.choice((1, 2, 200))
    elif choice == 2:
        to = random.randrange(len(fields))
        fields[at], fields[to] = fields[to], fields[at]
    elif choice == 3:
        field.number = random.choice((field.number + 1, max(1, field.number - 1), random.randint(1, 30)))
    elif choice == 4 and isinstance(field.value, int):
        field.value = random.choice((*SIZES, field.value + 1, field.value ^ 1 << random.randrange(32))) & 2**64 - 1
    elif choice == 5 and not isinstance(field.value, int):
        field.wrong = random.choice(SIZES)
    elif choice == 6:
        other = random.choice(random.choice(lists))
        fields[at] = Field(random.choice((field.number, other.number)), other.kind, other.value)
    elif choice == 7 and isinstance(field.value, bytes) and field.value:
        start = random.randrange(len(field.value))
        field.value = field.value[:start] + random.randbytes(random.randint(1, 8)) + field.value[start + random.randint(0, 8) :]
    elif isinstance(field.value, int):
        field.value = random.choice(SIZES)
    else:
        field.value = random.choice(TEXTS)
    try:
        return _written(message)
    except RecursionError:  # a field that was put into itself
        return data


def _parsed(data: bytes, depth: int) -> list[Field] | None:
    """The fields of `data`; None where it is no message."""
    fields, at = [], 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1000 or at > len(data):
            return None
        value: int | bytes | list[Field]
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            value, at = data[at : at + width], at + width
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
            if depth < DEEPEST and 0 < size < LARGEST and at <= len(data):
                value = _parsed(value, depth + 1) or value
        else:
            return None
        if at > len(data):
            return None
        fields.append(Field(number, kind, value))
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(the number at `at`, where the next begins); beyond the end of `data` where it is not whole."""
    number = shift = 0
    while at < len(data) and shift < 70:
        number |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return number, at
        shift += 7
    return number, len(data) + 1


def _lists(message: list[Field]) -> list[list[Field]]:
    found, left = [], [message]
    while left:
        fields = left.pop()
        if fields:
            found.append(fields)
        left += [field.value for field in fields if isinstance(field.value, list)]
    return found


def _written(message: list[Field]) -> bytes:
    parts = []
    for field in message:
        parts.append(_number(field.number << 3 | field.kind))
        if field.kind == 0:
            parts.append(_number(field.value if isinstance(field.value, int) else 0))
            continue
        value = (
            field.value if isinstance(field.value, bytes) else _written(field.value) if isinstance(field.value, list) else b""
        )
        if field.kind == 2:
            parts.append(_number(len(value) if field.wrong is None else field.wrong))
        parts.append(value)
    return b"".join(parts)


def _number(value: int) -> bytes:
    value &= 2**64 - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
