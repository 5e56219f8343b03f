"""CoNLL: a word a line with its tags, in columns that tabs or spaces separate, and a blank line after each sentence, which is a record.

The words are the first column and the tags the last, where the recipe does not name the columns. -DOCSTART- lines are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgekit.data.reading import AS_NAMED, Format, Record, Shape, encoding_notes, read_lines, text_fault

__all__ = ["FORMAT"]

DOCUMENT = "-DOCSTART-"


def records(path: Path, packing: str) -> Iterator[Record]:
    return shaped(path, packing, AS_NAMED)


def shaped(path: Path, packing: str, shape: Shape) -> Iterator[Record]:
    held: list[list[str]] = []
    first, fault = 1, None
    for number, line in enumerate(read_lines(path, packing), 1):
        if line.strip() and not line.startswith(DOCUMENT):
            first = first if held else number
            held.append(_columns(line))
            wrong = text_fault(line)
            fault = fault or (f"{wrong} (line {number})" if wrong else _miscounted(held[-1], shape.names, number))
        elif held:
            yield _record(first, held, shape.names, fault)
            held, fault = [], None
    if held:
        yield _record(first, held, shape.names, fault)


def _columns(line: str) -> list[str]:
    """The columns of a line; a word may hold spaces where tabs separate."""
    return line.rstrip("\r\n").split("\t") if "\t" in line else line.split()


def _miscounted(columns: list[str], names: tuple[str, ...], number: int) -> str | None:
    if names and len(columns) != len(names):
        return f"line {number} has {len(columns)} columns where `names` has {len(names)}"
    return f"line {number} has a word and no tag" if len(columns) < 2 and not names else None


def _record(first: int, held: list[list[str]], names: tuple[str, ...], fault: str | None) -> Record:
    if fault is not None:
        return Record(first, {}, fault)
    if names:
        return Record(first, {name: [columns[number] for columns in held] for number, name in enumerate(names)})
    return Record(first, {"tokens": [columns[0] for columns in held], "tags": [columns[-1] for columns in held]})


FORMAT = Format((".conll",), records, encoding_notes, shaped=shaped, takes=("names",))
