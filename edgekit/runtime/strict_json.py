"""JSON from outside, read strictly and once: what two readers could take differently, or what takes more memory than it is long, is refused.

Size, nesting and the number of values are bounded before anything is parsed, in linear time. `json.loads` alone takes duplicate keys,
NaN, numbers that become infinity and lone surrogates without a word, and turns three bytes into an object of a hundred.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from edgekit.runtime.errors import BadInput
from edgekit.runtime.files import read_file

__all__ = ["LARGEST", "check_structure", "read_json", "strict_json"]

LARGEST = 4_000_000
"""Bytes of a document at most, where its reader names no other limit."""
DEEPEST = 64
"""Lists and objects within one another, at most."""
MOST_CONTAINERS, MOST_VALUES = 1_000_000, 4_000_000
"""Lists and objects, and all values, of a document at most: the largest published tokenizers (Gemma 3's) have half of them. They bound
its memory to 600 MB."""
SHORT = 1_000_000
"""Bytes: a document of so few cannot hold too many values."""
LONGEST_INTEGER = 21
"""Digits: 64 bits hold 20, and canonical JSON writes floats below 1e21 as whole numbers."""
LONGEST_SHOWN = 80
"""Characters of a document that a message repeats."""

_MARKS = b'"[]{},:'
_NO_MARKS = bytes(set(range(256)) - set(_MARKS))
_DIGITS = bytes.maketrans(b"123456789", b"000000000")


def strict_json(
    data: bytes, where: str, *, most: int = LARGEST, deepest: int = DEEPEST, longest_integer: int = LONGEST_INTEGER
) -> Any:
    """The value of the document `data`; `where` names it in messages. `most` is its size in bytes, `deepest` its nesting, and
    `longest_integer` the digits of a whole number, at most.

    Raises:
        BadInput: too large, too deep, too many values, not UTF-8, not JSON, a key twice in one object, NaN, a number that float64 or
            64 bits cannot hold, or half of a surrogate pair.
    """
    if len(data) > most:
        raise BadInput(f"larger than {most:,} bytes", where=where)
    try:
        text = data.decode("utf-8")
        if text.startswith("\ufeff"):
            raise ValueError("it begins with a mark of byte order (BOM)")
        check_structure(data, deepest)
        long = len(data) > longest_integer and b"0" * (longest_integer + 1) in data.translate(_DIGITS)
        value = (_decoder(partial(_short, longest_integer)) if long else _DECODER).decode(text)
        if b"\\ud" in data or b"\\uD" in data:
            _check_surrogates(value)
    except UnicodeDecodeError as fault:
        raise BadInput(f"not UTF-8: byte {fault.start} ({fault.reason})", where=where) from None
    except (ValueError, RecursionError) as fault:
        raise BadInput(f"not sound JSON: {fault}", where=where) from None
    return value


def read_json(
    path: Path,
    *,
    most: int = LARGEST,
    deepest: int = DEEPEST,
    longest_integer: int = LONGEST_INTEGER,
    fix: str | None = None,
) -> Any:
    """The value of the JSON file `path`, of which no more than `most` bytes are read. `fix`: what to do where it is not there.

    Raises:
        BadInput: it is no plain file or cannot be read, or as `strict_json`.
    """
    return strict_json(read_file(path, most, fix=fix), str(path), most=most, deepest=deepest, longest_integer=longest_integer)


def check_structure(data: bytes, deepest: int) -> None:
    """Bound nesting and counts of values without parsing: of what stands outside strings only marks are looked at.

    Raises:
        ValueError: more of them.
    """
    if len(data) <= SHORT and data.count(b"[") + data.count(b"{") <= deepest:
        return
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    marks = np.frombuffer(bare.translate(None, _NO_MARKS), dtype=np.uint8)
    quotes = marks == ord('"')
    inside = np.bitwise_and(np.cumsum(quotes, dtype=np.int32), 1).astype(bool)
    outside = marks[~(inside | quotes)]
    opened = (outside == ord("[")) | (outside == ord("{"))
    closed = (outside == ord("]")) | (outside == ord("}"))
    containers = int(opened.sum())
    values = len(outside) - containers - int(closed.sum())  # a comma or a colon comes before each value but the first
    if containers > MOST_CONTAINERS or values > MOST_VALUES:
        raise ValueError(f"more than {MOST_CONTAINERS:,} lists and objects or {MOST_VALUES:,} values")
    depth = int(np.cumsum(opened.astype(np.int8) - closed.astype(np.int8), dtype=np.int32).max(initial=0))
    if depth > deepest:
        raise ValueError(f"lists and objects are nested deeper than {deepest}")


def _decoder(whole: Callable[[str], int] | None = None) -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_different, parse_constant=_constant, parse_float=_finite, parse_int=whole)


def _different(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"key {_shown(key)} is given twice")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{_shown(digits)} is beyond the largest float64")
    return value


def _short(longest: int, digits: str) -> int:
    count = len(digits.removeprefix("-"))
    if count > longest:
        raise ValueError(f"an integer of {count} digits")
    return int(digits)


_DECODER = _decoder()


def _check_surrogates(value: Any) -> None:
    """Refuse half of a surrogate pair, which is no Unicode and cannot be written."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += item.keys()
            left += item.values()
        elif isinstance(item, list):
            left += item
        elif isinstance(item, str):
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                raise ValueError(f"{_shown(item)} holds half of a surrogate pair") from None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…")
