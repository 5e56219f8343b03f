"""JSON lines: one object a line, a record each; blank lines are passed over.

Columns that nobody needs may be anything: a key that a line has twice is a fault only where its column is needed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgekit.data.reading import Format, Record, encoding_notes, read_lines, text_fault

__all__ = ["FORMAT"]


def records(path: Path, packing: str) -> Iterator[Record]:
    read = _reader()
    for number, line in enumerate(read_lines(path, packing), 1):
        if not line.strip():
            continue
        if fault := text_fault(line):
            yield Record(number, {}, fault)
            continue
        yield read(number, line)


def _reader() -> Callable[[int, str], Record]:
    """What makes a record of a line, with one decoder for all lines: to make one for each takes a third of the time."""
    double: list[tuple[object, tuple[str, ...]]] = []

    def read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            double.append((found, tuple(name for name, count in counts.items() if count > 1)))
        return found

    decode = json.JSONDecoder(object_pairs_hook=read_object).decode

    def read(number: int, line: str) -> Record:
        double.clear()
        try:
            row = decode(line)
        except (ValueError, RecursionError) as fault:
            return Record(number, {}, f"not JSON: {fault}")
        return _record(number, row, double)

    return read


def _record(number: int, row: object, double: list[tuple[object, tuple[str, ...]]]) -> Record:
    """The record of a line's value; `double`: objects in it that have a name twice, the innermost first, with these names."""
    if not isinstance(row, dict):
        return Record(number, {}, "not a JSON object")
    if double and double[0][0] is not row:
        return Record(number, {}, f"not JSON: {double[0][1][0][:80]!r} is given twice in one object")
    outer = double[0][1] if double else ()
    return Record(number, {name: value for name, value in row.items() if name not in outer} if outer else row, duplicates=outer)


FORMAT = Format((".jsonl", ".ndjson"), records, encoding_notes)
