"""JSON lines: one object a line, a record each; blank lines are passed over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from edgekit.data.reading import Format, Record, encoding_notes, read_lines, undecodable

__all__ = ["FORMAT"]


def records(path: Path, packing: str) -> Iterator[Record]:
    for number, line in enumerate(read_lines(path, packing), 1):
        if not line.strip():
            continue
        if undecodable(line):
            yield Record(number, {}, "not UTF-8")
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as fault:
            yield Record(number, {}, f"not JSON: {fault}")
            continue
        yield Record(number, row) if isinstance(row, dict) else Record(number, {}, "not a JSON object")


FORMAT = Format((".jsonl", ".ndjson"), records, encoding_notes)
