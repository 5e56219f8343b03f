"""The sha256 of a safetensors file, and which of its tensors hold NaN or Inf, in one pass over its bytes."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from edgekit.runtime.files import open_file

__all__ = ["hash_and_look"]

EXPONENTS = {"F64": ("<u8", 0x7FF0 << 48), "F32": ("<u4", 0x7F80 << 16), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
"""Number format -> (integer of its size, its exponent's bits, which are all set in NaN and Inf alone)."""
BLOCK = 8 * 1024**2


def hash_and_look(path: Path) -> tuple[str, list[str]]:
    """(sha256 of the file in hexadecimal, names of tensors that hold NaN or Inf). A file that is no safetensors file holds none."""
    total, found = hashlib.sha256(), []
    with open_file(path) as file:
        size = file.read(8)
        header = file.read(min(int.from_bytes(size, "little"), path.stat().st_size))
        total.update(size + header)
        at = 0
        for name, kind, begin, end in _tensors(header):
            if begin < at:
                break
            _take(file, begin - at, None, total)
            if _take(file, end - begin, EXPONENTS.get(kind), total):
                found.append(name)
            at = end
        _take(file, None, None, total)
    return total.hexdigest(), found


def _tensors(header: bytes) -> list[tuple[str, str, int, int]]:
    """(name, number format, first byte, byte behind the last) of each tensor, in the file's order."""
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        document = json.loads(header)
        tensors = [(name, one["dtype"], *one["data_offsets"]) for name, one in document.items() if name != "__metadata__"]
        if all(type(begin) is type(end) is int and 0 <= begin <= end for _, _, begin, end in tensors):
            return sorted(tensors, key=lambda one: one[2:])
    return []


def _take(file: IO[bytes], count: int | None, form: tuple[str, int] | None, total: hashlib._Hash) -> bool:
    """Hash the next `count` bytes of a file, all for None; whether a number of this `form` among them is none or has no bound."""
    bad = False
    while count is None or count > 0:
        data = file.read(BLOCK if count is None else min(BLOCK, count))
        if not data:
            break
        total.update(data)
        count = None if count is None else count - len(data)
        if form is not None and not bad:
            numbers = np.frombuffer(data, form[0], len(data) // np.dtype(form[0]).itemsize)
            bad = bool(((numbers & numbers.dtype.type(form[1])) == form[1]).any())
    return bad
