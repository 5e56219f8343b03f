"""Records out of JSON lines, CSV, Parquet and plain text, as it is or packed with gzip or xz, with the line that each one came from.

Plain text has no rows of its own, so whole lines are taken together until another one would make more than `PIECE` characters: one
record with its `text`, without the white space around it. A line longer than that is cut at its last space within. Nothing but white
space between records is lost, and a record may hold several paragraphs or begin within an article.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from edgekit.errors import BadInput

__all__ = ["KINDS", "LARGEST", "PIECE", "Record", "records"]

LARGEST = 2 * 1024**3
"""Bytes after unpacking. What grows beyond is a packed bomb, or wants a smaller sample."""
KINDS = (".jsonl", ".ndjson", ".csv", ".parquet", ".txt")
PIECE = 2000
"""Characters of a record of plain text at most; about 450 tokens of English to a tokenizer of 50,000."""
PACKED = (".gz", ".xz")


@dataclass(frozen=True)
class Record:
    """One record of a file: its line (its row, in Parquet), and its values or what is wrong with it."""

    line: int
    values: dict[str, Any]
    fault: str | None = None


def records(path: Path) -> Iterator[Record]:
    """Every record of `path`, in order; blank lines are passed over.

    Raises:
        BadInput: no such file, a kind that is not known, damaged packing, or more than `LARGEST` bytes.
    """
    if not path.is_file():
        raise BadInput("is a folder, not a data file" if path.is_dir() else "no such data file", where=str(path))
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKED else ""
    kind = suffixes[-1] if suffixes else ""
    if kind not in KINDS:
        known = f"use {', '.join(KINDS)}, each also with .gz or .xz"
        raise BadInput(f"unknown kind of data file {kind + packing!r}", where=str(path), fix=known)
    if kind == ".parquet":
        return _parquet(path, packing)
    if kind == ".txt":
        return _plain(path, packing)
    return _csv(path, packing) if kind == ".csv" else _json_lines(path, packing)


def _json_lines(path: Path, packing: str) -> Iterator[Record]:
    for number, line in enumerate(_lines(path, packing), 1):
        if not line.strip():
            continue
        if _undecodable(line):
            yield Record(number, {}, "not UTF-8")
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as fault:
            yield Record(number, {}, f"not JSON: {fault}")
            continue
        yield Record(number, row) if isinstance(row, dict) else Record(number, {}, "not a JSON object")


def _plain(path: Path, packing: str) -> Iterator[Record]:
    held, first = "", 1
    for number, line in enumerate(_lines(path, packing), 1):
        if _undecodable(line) or "\0" in line:
            yield Record(number, {}, "not UTF-8" if _undecodable(line) else "holds a NUL, so it is no text")
            continue
        if held and len(held) + len(line.rstrip()) > PIECE:
            yield Record(first, {"text": held.rstrip()})
            held = ""
        if not held:
            line, first = line.lstrip(), number
        held += line
        if len(held.rstrip()) > PIECE:
            *whole, held = _cut(held)
            yield from (Record(first, {"text": text}) for text in whole)
    if held:
        yield Record(first, {"text": held.rstrip()})


def _cut(line: str) -> Iterator[str]:
    """Parts of at most `PIECE` characters, each but the last cut at a space where it has one, and without white space around it."""
    start, end = 0, len(line.rstrip())
    while end - start > PIECE:
        stop = line.rfind(" ", start + 1, start + PIECE + 1)
        stop = start + PIECE if stop < 0 else stop
        yield line[start:stop].rstrip()
        start = stop
        while line[start].isspace():
            start += 1
    yield line[start:]


def _csv(path: Path, packing: str) -> Iterator[Record]:
    """A record may hold line breaks inside quotes; its number is that of its first line."""
    before = csv.field_size_limit(LARGEST)  # the default refuses a text above 128 KiB
    try:
        reader = csv.reader(_lines(path, packing), strict=True)
        header: list[str] = []
        line = 1
        try:
            for fields in reader:
                if not fields:
                    pass
                elif not header:
                    header = fields
                    if len(set(header)) < len(header) or not all(header):
                        raise BadInput(
                            f"the header names a column twice or not at all: {', '.join(header)}", where=f"{path}:{line}"
                        )
                elif any(map(_undecodable, fields)):
                    yield Record(line, {}, "not UTF-8")
                elif len(fields) != len(header):
                    yield Record(line, {}, f"{len(fields)} fields where the header has {len(header)}")
                else:
                    yield Record(line, dict(zip(header, fields, strict=True)))
                line = reader.line_num + 1
        except csv.Error as fault:
            yield Record(line, {}, f"not CSV: {fault}")
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path, packing: str) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    with _opened(path, packing) as file:
        data = _read(file, path, packing, LARGEST + 1)
    _check_size(len(data), path)
    try:
        table = parquet.ParquetFile(io.BytesIO(data))
        _check_size(sum(table.metadata.row_group(group).total_byte_size for group in range(table.num_row_groups)), path)
        number = 0
        for batch in table.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield Record(number, row)
    except UnicodeDecodeError:
        raise BadInput("holds text that is not UTF-8", where=str(path), fix="save the text as UTF-8") from None
    except (pyarrow.ArrowException, OSError) as fault:
        raise BadInput(f"not a readable Parquet file: {fault}", where=str(path)) from None


def _lines(path: Path, packing: str) -> Iterator[str]:
    """Lines with their ends. Bytes that are not UTF-8 come as lone surrogates, so that their line can be named."""
    total = 0
    with _opened(path, packing) as file:
        while line := _read(file, path, packing, LARGEST - total + 1, line=True):
            text = line.decode("utf-8-sig" if total == 0 else "utf-8", errors="surrogateescape")
            total += len(line)
            _check_size(total, path)
            yield text


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


def _check_size(size: int, path: Path) -> None:
    if size > LARGEST:
        raise BadInput(
            f"more than {LARGEST / 1024**3:.3g} GiB when unpacked", where=str(path), fix="split the file, or sample it"
        )


def _undecodable(text: str) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in text) if not text.isascii() else False
