"""CSV and TSV with a header: one record a row; a quoted field may hold line breaks.

Columns of a .csv file may be separated by something else, as its header shows. Many who separate by tabs do not quote: where quotes make no
table of such a file, and it is one without them, they are part of the text.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from edgekit.data.reading import LONGEST, PACKINGS, Format, Record, Shape, encoding_notes, read_lines, text_fault
from edgekit.errors import BadInput

__all__ = ["FORMAT"]

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
QUOTES = (
    'a field that holds a separator, a line break or a quote stands in quotes, and each quote in it is doubled: "say ""on"""'
)
UNQUOTED = "quotes are part of the text, as they do not enclose fields"
QUOTED = "quotes around fields are taken off, as pandas and datasets do"
RETURNS = "holds a carriage return that no line feed follows, and lines end at line feeds here; save the file with line feeds (dos2unix -c mac)"
EXCEL = ("sep=", *(f"sep={separator}" for separator in SEPARATORS))
SAMPLE = 64 * 1024
"""Characters that are looked at where the header alone does not tell."""


def records(path: Path, packing: str) -> Iterator[Record]:
    """A record may hold line breaks inside quotes; its number is that of its first line.

    Columns without a name, such as pandas' index, are left out.
    """
    return _records(path, packing, ())


def shaped(path: Path, packing: str, shape: Shape) -> Iterator[Record]:
    """Of a table without a header, whose first line is a record."""
    return _records(path, packing, shape.names)


def _records(path: Path, packing: str, names: Sequence[str]) -> Iterator[Record]:
    separator = _separator(path, packing)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if _unquoted(path, packing, separator) else csv.QUOTE_MINIMAL
    table = _Table(path, packing, separator, quoting)
    header = [*names]
    double: tuple[str, ...] = ()
    line = 1
    try:
        for fields in table.rows():
            if not fields:
                pass
            elif not header:
                if fields[0].casefold() in EXCEL and not any(fields[1:]):
                    raise BadInput(
                        "its first line says to Excel what separates the columns", where=str(path), fix="take that line out"
                    )
                header = fields
                double = tuple(name for name, count in Counter(header).items() if count > 1 and name)
            elif fields == header and len(fields) > 1 and not names:
                yield Record(line, {}, "is the header again, as where files were put one after the other")
            elif fault := next(filter(None, map(text_fault, fields)), None):
                yield Record(line, {}, fault)
            elif len(fields) != len(header):
                counted = f"{len(fields)} fields where {'`names`' if names else 'the header'} has {len(header)}"
                yield Record(line, {}, f"{counted}, separated by {SEPARATORS[separator]}")
            else:
                pairs = zip(header, fields, strict=True)
                yield Record(line, {name: field for name, field in pairs if name and name not in double}, duplicates=double)
            line = table.lines + 1
    except csv.Error as error:
        if "new-line character" in str(error):  # Python's words for it are advice to programmers
            yield Record(line, {}, RETURNS)
            return
        yield Record(line, {}, f"not CSV separated by {SEPARATORS[separator]}: {error}; {QUOTES}")


class _Table:
    """The rows of a file, none of which holds more than `LONGEST` characters: a quote without an end takes in all that follows."""

    def __init__(self, path: Path, packing: str, separator: str, quoting: Literal[0, 3]) -> None:
        self.lines = 0
        """Lines read so far."""
        self.held = 0
        """Characters of the row that is being read."""
        self.source = read_lines(path, packing)
        self.reader = csv.reader(self._counted(), delimiter=separator, strict=True, quoting=quoting)

    def _counted(self) -> Iterator[str]:
        for line in self.source:
            self.lines += 1
            self.held += len(line)
            if self.held > LONGEST:
                raise csv.Error(f"a record of more than {LONGEST / 1024**2:.0f} MiB")
            yield line

    def rows(self) -> Iterator[list[str]]:
        """Each row's fields.

        Raises:
            csv.Error: no table, or a row that is too long.
        """
        while True:
            before = csv.field_size_limit(LONGEST)  # one for all readers of csv, which have 128 KiB
            try:
                fields = next(self.reader, None)
            finally:
                csv.field_size_limit(before)
            if fields is None:
                return
            yield fields
            self.held = 0


def notes(path: Path, packing: str, shape: Shape) -> list[str]:
    separator = _separator(path, packing)
    separated = [] if separator == _by_name(path) else [f"columns are separated by {SEPARATORS[separator]}"]
    quotes = []
    if separator == "\t":
        quotes = [UNQUOTED] if _unquoted(path, packing, separator) else [QUOTED] if _differs(path, packing) else []
    return encoding_notes(path, packing, shape) + separated + quotes


def _unquoted(path: Path, packing: str, separator: str) -> bool:
    """Whether a file whose columns tabs separate is a table only where quotes are part of the text."""
    if separator != "\t":
        return False
    state = path.stat()
    return _unquoted_then(path, packing, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _unquoted_then(path: Path, packing: str, changed: int, size: int) -> bool:
    """What `_unquoted` says of a file in one state of it: one or two passes over the whole file, made once."""
    return not _table(path, packing, csv.QUOTE_MINIMAL) and _table(path, packing, csv.QUOTE_NONE)


def _differs(path: Path, packing: str) -> bool:
    """Whether a file separated by tabs holds other text where quotes are part of it."""
    tables = [_Table(path, packing, "\t", quoting).rows() for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE)]
    try:
        return any(one != other for one, other in zip_longest(*tables))
    except csv.Error:  # told by who reads the rows
        return False


def _table(path: Path, packing: str, quoting: Literal[0, 3]) -> bool:
    """Whether all records of a file have as many fields, separated by tabs."""
    try:
        return len({len(fields) for fields in _Table(path, packing, "\t", quoting).rows() if fields}) <= 1
    except csv.Error:
        return False


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


FORMAT = Format((".csv", ".tsv"), records, notes, shaped=shaped, takes=("names",))
