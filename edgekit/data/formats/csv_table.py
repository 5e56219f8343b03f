"""CSV with a header: one record a row; a quoted field may hold line breaks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from edgekit.data.reading import LARGEST, Format, Record, read_lines, undecodable
from edgekit.errors import BadInput

__all__ = ["FORMAT"]


def records(path: Path, packing: str) -> Iterator[Record]:
    """A record may hold line breaks inside quotes; its number is that of its first line."""
    before = csv.field_size_limit(LARGEST)  # the default refuses a text above 128 KiB
    try:
        reader = csv.reader(read_lines(path, packing), strict=True)
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
                elif any(map(undecodable, fields)):
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


FORMAT = Format((".csv",), records)
