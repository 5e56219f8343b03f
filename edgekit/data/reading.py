"""What file formats share: the record they yield, and bytes and lines of a file, packed or not, that cannot outgrow memory."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from edgekit.data.encodings import UTF8, encoding_of
from edgekit.errors import BadInput
from edgekit.runtime.files import check_file, open_file
from edgekit.runtime.jsontypes import JsonValue

__all__ = [
    "AS_NAMED", "LARGEST", "LONGEST", "NO_ROWS", "PACKINGS", "Format", "Record", "Shape", "Unread", "check_size", "encoding_notes", "most_unpacked",
    "open_data", "read_bytes", "read_lines", "said_of", "text_fault",
]  # fmt: skip

LARGEST = 2 * 1024**3
"""Bytes of a file, and of what it unpacks to. What is larger wants a smaller sample."""
RATIO, SMALL = 100, 16 * 1024**2
"""Text packs to a third or a tenth of its size, with much repetition to a fiftieth; what grows a hundred times, and beyond 16 MiB, is a
decompression bomb."""
LONGEST = 16 * 1024**2
"""Bytes of a line or a record: a long novel has 4 MB."""
PACKINGS = (".gz", ".xz")
NO_ROWS = "check that it is the right file: it needs a row for each text, and a table a line with the names of its columns before them"
XZ_MEMORY = 128 * 1024**2
"""Bytes that unpacking may take: `xz -9` needs 65 MiB, and a file may ask for 4 GiB."""
BLOCK = 1 << 18


@dataclass(frozen=True)
class Unread:
    """In the place of a value that is not read, as its kind is none that rows hold or nobody asked for its column."""

    kind: str
    """What a message calls it, such as timestamp[us]."""


@dataclass(frozen=True)
class Record:
    """One record of a file: its line (its row, in Parquet), and its values or what is wrong with it."""

    line: int
    values: dict[str, Any]
    """Column -> value as the file holds it, not checked yet."""
    fault: str | None = None
    duplicates: tuple[str, ...] = ()
    """Columns that the file has more than once; they are not among `values`."""


@dataclass(frozen=True)
class Shape:
    """What a recipe says of how a file is read; nothing of it where the file says so itself."""

    format: str = ""
    """Its kind, in the place of its name's ending: an ending without the first dot."""
    names: tuple[str, ...] = ()
    """Names of the columns of a file that has none."""
    members: tuple[str, ...] = ()
    """Names of the lists of a document that hold the rows."""

    def document(self) -> dict[str, JsonValue]:
        """As JSON."""
        return {"format": self.format, "names": [*self.names], "members": [*self.members]}


AS_NAMED = Shape()
"""As the file's name and the file itself say."""


def no_notes(path: Path, packing: str, shape: Shape) -> list[str]:
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
    notes: Callable[[Path, str, Shape], list[str]] = no_notes
    """(file, its packing, what the recipe says) -> how it is read, where that had to be found out: an encoding, what separates columns."""
    lines: Callable[[Path, str], Iterator[Record]] | None = None
    """As `records`, for who wants a record of each line; None where the format has records of its own."""
    some: Callable[[Path, str, Collection[str]], Iterator[Record]] | None = None
    """As `records`, with the values of the named columns, and `Unread` for those of others; None where a format reads them all anyway."""
    shaped: Callable[[Path, str, Shape], Iterator[Record]] | None = None
    """As `records`, where the recipe says one of `takes`."""
    takes: tuple[Literal["names", "members"], ...] = ()
    """What a recipe may say of such a file."""


def read_lines(path: Path, packing: str, *, parts: bool = False) -> Iterator[str]:
    """Lines with their ends, in the encoding that the file is in. Bytes of a UTF-8 file that are not UTF-8 come as lone surrogates, so
    that their line can be named. `parts`: lines longer than `LONGEST` come in several parts rather than being refused.

    Raises:
        BadInput: the file cannot be read, it or a line is too large, or its encoding cannot be told.
    """
    encoding = _encoding(path, packing)
    if encoding != UTF8:
        yield from _lines_in(path, packing, encoding, parts)
        return
    for number, block in enumerate(_blocks(path, packing, parts)):
        text = block.decode("utf-8-sig" if number == 0 else UTF8, errors="surrogateescape")
        lines = text.split("\n")
        last = lines.pop()
        for line in lines:
            yield line + "\n"
        if last:
            yield last


def _lines_in(path: Path, packing: str, encoding: str, parts: bool) -> Iterator[str]:
    total, most = 0, most_unpacked(path, packing)
    with open_data(path, packing) as file:
        text = io.TextIOWrapper(file, encoding, newline="\n")
        try:
            while line := text.readline(LONGEST + 1):
                total += len(line)
                _check_size(total, most, path)
                _check_line(0 if parts else len(line), path)
                yield line
        except UnicodeError as fault:  # UTF-16's own faults are not UnicodeDecodeError
            reason = fault.reason if isinstance(fault, UnicodeDecodeError) else str(fault)
            raise BadInput(f"not {encoding}, as most of it is: {reason}", where=str(path), fix="save it as UTF-8") from None


def encoding_notes(path: Path, packing: str, shape: Shape) -> list[str]:
    """The encoding of a file that is not in UTF-8, in words."""
    return said_of(_encoding(path, packing))


def said_of(encoding: str) -> list[str]:
    """`encoding` in words, where it is not UTF-8."""
    return [] if encoding == UTF8 else [f"not in UTF-8; read as {encoding}"]


def _encoding(path: Path, packing: str) -> str:
    size = check_file(path)
    return _encoding_then(path, packing, path.stat().st_mtime_ns, size, LARGEST)


@lru_cache(maxsize=64)
def _encoding_then(path: Path, packing: str, changed: int, size: int, largest: int) -> str:
    """The encoding of a file in one state of it: a pass over the whole file, made once."""
    return encoding_of(_blocks(path, packing, parts=True), str(path))


def _blocks(path: Path, packing: str, parts: bool) -> Iterator[bytes]:
    """The file in parts that end where lines do, or, with `parts`, within a line beyond `LONGEST`: after a space where there is one."""
    total, most = 0, most_unpacked(path, packing)
    begun: list[bytes] = []
    length = 0
    with open_data(path, packing) as file:
        while data := file.read(BLOCK):
            total += len(data)
            _check_size(total, most, path)
            end = data.rfind(b"\n") + 1
            if not parts:
                _check_line(length + (data.find(b"\n") if end else len(data)), path)
            elif not end and length > LONGEST:
                end = data.rfind(b" ") + 1 or _last_character(data)
            if end:
                yield b"".join((*begun, data[:end]))
                begun, length = [], 0
            begun.append(data[end:])
            length += len(data) - end
        if length:
            yield b"".join(begun)


def _last_character(data: bytes) -> int:
    """Where the last character of UTF-8 text begins, which may not be whole."""
    back = next((number for number in range(1, 5) if data[-number] & 0xC0 != 0x80), 0) if len(data) >= 4 else 0
    return len(data) - back


def read_bytes(path: Path, packing: str) -> bytes:
    """The whole file, unpacked.

    Raises:
        BadInput: it cannot be read, its packing is damaged, or it is too large.
    """
    most = most_unpacked(path, packing)
    parts: list[bytes] = []
    total = 0
    with open_data(path, packing) as file:
        while data := file.read(BLOCK):  # and not all at once, which takes memory for as many bytes as there may be
            total += len(data)
            _check_size(total, most, path)
            parts.append(data)
    return b"".join(parts)


def most_unpacked(path: Path, packing: str = "") -> int:
    """Bytes that the file may hold, or unpack to where it is packed.

    Raises:
        BadInput: no plain file, or larger than `LARGEST`.
    """
    size = check_file(path)
    _check_size(size, LARGEST, path)
    return min(LARGEST, max(SMALL, RATIO * size)) if packing else LARGEST


def check_size(size: int, path: Path) -> None:
    """Raises BadInput where `path`, in a format that packs by itself, has unpacked to `size` bytes and more than a file of its size may."""
    _check_size(size, most_unpacked(path, "itself"), path)


def _check_size(size: int, most: int, path: Path) -> None:
    """Raises BadInput above `most` bytes of a file."""
    if size > most == LARGEST:
        raise BadInput(f"more than {most / 1024**3:.3g} GiB when unpacked", where=str(path), fix="split the file, or sample it")
    if size > most:
        what = f"unpacks to more than {most / 1024**2:,.0f} MiB and {RATIO} times its size"
        raise BadInput(what, where=str(path), fix="where that is right, unpack it yourself and name the file that comes out")


def _check_line(size: int, path: Path) -> None:
    """Raises BadInput above `LONGEST` bytes of a line."""
    if size > LONGEST:
        raise BadInput(
            f"has a line of more than {LONGEST / 1024**2:.0f} MiB",
            where=str(path),
            fix="check that it is text with a record a line",
        )


def text_fault(text: str) -> str | None:
    """What is wrong with `text` that comes from a text file: it is no UTF-8, or no text."""
    if not text.isascii() and any("\udc80" <= letter <= "\udcff" for letter in text):
        return "not UTF-8"
    return "holds a NUL, so it is no text" if "\0" in text else None


@contextmanager
def open_data(path: Path, packing: str) -> Iterator[BinaryIO]:
    """The file, open and unpacked as it is read; what goes wrong meanwhile with file or packing is a BadInput.

    Raises:
        BadInput: no plain file, larger than `LARGEST`, or it cannot be read.
    """
    most_unpacked(path)
    try:
        with open_file(path) as file:
            if packing == ".gz":
                yield cast(BinaryIO, gzip.GzipFile(fileobj=file))
            else:
                yield cast(BinaryIO, io.BufferedReader(_Xz(file), BLOCK)) if packing == ".xz" else file
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as fault:
        damaged = f"damaged {packing} file: " if packing else "cannot be read: "
        raise BadInput(f"{damaged}{fault}", where=str(path)) from None


class _Xz(io.RawIOBase):
    """The streams of an .xz file, one after the other; `lzma.open` lets a file take as much memory as it asks for."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.stream = lzma.LZMADecompressor(memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            data = b""
            if self.stream.eof:
                rest = self.stream.unused_data or self.file.read(BLOCK)
                while rest and not (data := rest.lstrip(b"\0")):  # padding between streams
                    rest = self.file.read(BLOCK)
                if not data:
                    return 0
                self.stream = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
            elif self.stream.needs_input and not (data := self.file.read(BLOCK)):
                raise EOFError("it ends too early")
            if found := self.stream.decompress(data, len(buffer)):
                buffer[: len(found)] = found
                return len(found)
