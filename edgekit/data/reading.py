"""What file formats share: the record they yield, and bytes and lines of a file, packed or not, that cannot outgrow memory."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from edgekit.data.encodings import UTF8, encoding_of
from edgekit.errors import BadInput

__all__ = [
    "LARGEST", "PACKINGS", "Format", "Record", "check_size", "encoding_notes", "read_bytes", "read_lines", "undecodable",
]  # fmt: skip

LARGEST = 2 * 1024**3
"""Bytes of a file after unpacking. What grows beyond is a decompression bomb, or wants a smaller sample."""
PACKINGS = (".gz", ".xz")


@dataclass(frozen=True)
class Record:
    """One record of a file: its line (its row, in Parquet), and its values or what is wrong with it."""

    line: int
    values: dict[str, Any]
    """Column -> value as the file holds it, not checked yet."""
    fault: str | None = None
    duplicates: tuple[str, ...] = ()
    """Columns that the file has more than once; they are not among `values`."""


def no_notes(path: Path, packing: str) -> list[str]:
    """Nothing to say of how a file is read."""
    return []


@dataclass(frozen=True)
class Format:
    """One file format."""

    endings: tuple[str, ...]
    """Endings of file names, with their dot, in lower case."""
    records: Callable[[Path, str], Iterator[Record]]
    """(file, its packing: "", ".gz" or ".xz") -> its records in order.

    It raises BadInput where the file as a whole cannot be read; what is wrong with one record is that record's `fault`.
    """
    notes: Callable[[Path, str], list[str]] = no_notes
    """(file, its packing) -> how it is read, where that had to be found out: an encoding, what separates columns."""
    lines: Callable[[Path, str], Iterator[Record]] | None = None
    """As `records`, for who wants a record of each line; None where the format has records of its own."""


def read_lines(path: Path, packing: str) -> Iterator[str]:
    """Lines with their ends, in the encoding that the file is in. Bytes of a UTF-8 file that are not UTF-8 come as lone surrogates, so
    that their line can be named.

    Raises:
        BadInput: the file cannot be read, is larger than `LARGEST`, or its encoding cannot be told.
    """
    encoding = _encoding(path, packing)
    if encoding != UTF8:
        data = read_bytes(path, packing)
        try:
            yield from io.TextIOWrapper(io.BytesIO(data), encoding, newline="\n")
        except UnicodeDecodeError as fault:
            raise BadInput(
                f"not {encoding}, as most of it is: {fault.reason}", where=str(path), fix="save it as UTF-8"
            ) from None
        return
    for number, line in enumerate(_byte_lines(path, packing)):
        yield line.decode("utf-8-sig" if number == 0 else UTF8, errors="surrogateescape")


def encoding_notes(path: Path, packing: str) -> list[str]:
    """The encoding of a file that is not in UTF-8, in words."""
    encoding = _encoding(path, packing)
    return [] if encoding == UTF8 else [f"not in UTF-8; read as {encoding}"]


def _encoding(path: Path, packing: str) -> str:
    try:
        state = path.stat()
    except OSError as fault:
        raise BadInput(f"cannot be opened: {fault.strerror}", where=str(path)) from None
    return _encoding_then(path, packing, state.st_mtime_ns, state.st_size, LARGEST)


@lru_cache(maxsize=64)
def _encoding_then(path: Path, packing: str, changed: int, size: int, largest: int) -> str:
    """The encoding of a file in one state of it: a pass over the whole file, made once."""
    return encoding_of(_byte_lines(path, packing), str(path))


def _byte_lines(path: Path, packing: str) -> Iterator[bytes]:
    """Lines as bytes, with their ends; no more of them than `LARGEST` bytes."""
    total = 0
    with _opened(path, packing) as file:
        while line := _read(file, path, packing, LARGEST - total + 1, line=True):
            total += len(line)
            check_size(total, path)
            yield line


def read_bytes(path: Path, packing: str) -> bytes:
    """The whole file, unpacked.

    Raises:
        BadInput: it cannot be read, its packing is damaged, or it is larger than `LARGEST`.
    """
    with _opened(path, packing) as file:
        data = _read(file, path, packing, LARGEST + 1)
    check_size(len(data), path)
    return data


def check_size(size: int, path: Path) -> None:
    """Raises BadInput above `LARGEST` bytes."""
    if size > LARGEST:
        raise BadInput(
            f"more than {LARGEST / 1024**3:.3g} GiB when unpacked", where=str(path), fix="split the file, or sample it"
        )


def undecodable(text: str) -> bool:
    """Whether `text` came from bytes that are not UTF-8."""
    return any("\udc80" <= letter <= "\udcff" for letter in text) if not text.isascii() else False


def _opened(path: Path, packing: str) -> BinaryIO:
    try:
        if packing == ".gz":
            return cast(BinaryIO, gzip.open(path, "rb"))
        return cast(BinaryIO, lzma.open(path, "rb")) if packing == ".xz" else path.open("rb")
    except OSError as fault:
        raise BadInput(f"cannot be opened: {fault.strerror}", where=str(path)) from None


def _read(file: BinaryIO, path: Path, packing: str, limit: int, *, line: bool = False) -> bytes:
    try:
        return file.readline(limit) if line else file.read(limit)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as fault:
        damaged = f"damaged {packing} file: " if packing else "cannot be read: "
        raise BadInput(f"{damaged}{fault}", where=str(path)) from None
