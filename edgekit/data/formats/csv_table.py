"""CSV and TSV with a header: one record a row; a quoted field may hold line breaks.

Columns of a .csv file may be separated by something else, as its header shows.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edgekit.data.reading import LARGEST, PACKINGS, Format, Record, encoding_notes, read_lines, undecodable
from edgekit.errors import BadInput

__all__ = ["FORMAT"]

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SAMPLE = 64 * 1024
"""Characters that are looked at where the header alone does not tell."""


def records(path: Path, packing: str) -> Iterator[Record]:
    """A record may hold line breaks inside quotes; its number is that of its first line.

    Columns without a name, such as pandas' index, are left out.
    """
    reader = csv.reader(read_lines(path, packing), delimiter=_separator(path, packing), strict=True)
    header: list[str] = []
    double: tuple[str, ...] = ()
    line = 1
    try:
        for fields in _fields(reader):
            if not fields:
                pass
            elif not header:
                header = fields
                double = tuple(name for name, count in Counter(header).items() if count > 1 and name)
            elif any(map(undecodable, fields)):
                yield Record(line, {}, "not UTF-8")
            elif len(fields) != len(header):
                yield Record(line, {}, f"{len(fields)} fields where the header has {len(header)}")
            else:
                pairs = zip(header, fields, strict=True)
                yield Record(line, {name: field for name, field in pairs if name and name not in double}, duplicates=double)
            line = reader.line_num + 1
    except csv.Error as fault:
        yield Record(line, {}, f"not CSV: {fault}")


def _fields(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    """The rows of `reader`, whose fields may be longer than csv's default of 128 KiB, which is one for all of its readers."""
    while True:
        before = csv.field_size_limit(LARGEST)
        try:
            fields = next(reader, None)
        finally:
            csv.field_size_limit(before)
        if fields is None:
            return
        yield fields


def notes(path: Path, packing: str) -> list[str]:
    separator = _separator(path, packing)
    return encoding_notes(path, packing) + (
        [] if separator == _by_name(path) else [f"columns are separated by {SEPARATORS[separator]}"]
    )


def _separator(path: Path, packing: str) -> str:
    """What separates the columns: what the name says where the header holds it, else what the header holds instead.

    Raises:
        BadInput: the header holds several, and the rows do not tell.
    """
    head = ""
    for line in read_lines(path, packing):
        head += line if head or line.strip() else ""
        if len(head) > SAMPLE:
            break
    header, expected = head.partition("\n")[0], _by_name(path)
    held = [separator for separator in SEPARATORS if separator in header]
    if expected in held or not held:
        return expected
    if len(held) == 1:
        return held[0]
    even = [separator for separator in held if _even(head, separator)]
    if len(even) == 1:
        return even[0]
    raise BadInput(
        f"what separates the columns cannot be told: the header holds {' and '.join(SEPARATORS[one] for one in held)}",
        where=str(path),
        fix=f"separate them by {SEPARATORS[expected]}, as the name of the file says",
    )


def _even(head: str, separator: str) -> bool:
    """Whether every whole record of a file's beginning has as many fields as its header, which csv.Sniffer does not ask for."""
    try:
        counts = [len(fields) for fields in csv.reader(io.StringIO(head[:SAMPLE], newline=""), delimiter=separator) if fields]
    except csv.Error:
        return False
    return len(set(counts[:-1] if len(head) > SAMPLE else counts)) == 1


def _by_name(path: Path) -> str:
    endings = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in PACKINGS]
    return "\t" if endings[-1:] == [".tsv"] else ","


FORMAT = Format((".csv", ".tsv"), records, notes)
