"""CSV with a header: one record a row; a quoted field may hold line breaks."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edgekit.data.reading import LARGEST, Format, Record, read_lines, undecodable

__all__ = ["FORMAT"]


def records(path: Path, packing: str) -> Iterator[Record]:
    """A record may hold line breaks inside quotes; its number is that of its first line.

    Columns without a name, such as pandas' index, are left out.
    """
    before = csv.field_size_limit(LARGEST)  # the default refuses a text above 128 KiB
    try:
        reader = csv.reader(read_lines(path, packing), strict=True)
        header: list[str] = []
        double: tuple[str, ...] = ()
        line = 1
        try:
            for fields in reader:
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
    finally:
        csv.field_size_limit(before)


FORMAT = Format((".csv",), records)
