"""CoNLL: a word a line with its tags, in columns that tabs or spaces separate, and a blank line after each sentence, which is a record.

The words are the first column and the tags the last, where the recipe does not name the columns. -DOCSTART- lines are passed over, and so are
comments: lines that begin with "# ", and have other columns than those beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edgekit.data.reading import AS_NAMED, Format, Record, Shape, encoding_notes, read_lines, text_fault

__all__ = ["FORMAT", "TAG"]

DOCUMENT, COMMENT = "-DOCSTART-", "# "
TAG = re.compile(r"O|[BIESLUM][-_]\S+")
"""A tag of an entity, in any scheme."""


def records(path: Path, packing: str) -> Iterator[Record]:
    return shaped(path, packing, AS_NAMED)


def shaped(path: Path, packing: str, shape: Shape) -> Iterator[Record]:
    held: list[tuple[int, str, list[str]]] = []
    for number, line in enumerate(read_lines(path, packing), 1):
        if line.strip() and not line.startswith(DOCUMENT):
            held.append((number, line, _columns(line)))
        elif held:
            yield from _sentence(held, shape.names)
            held = []
    if held:
        yield from _sentence(held, shape.names)


def _sentence(held: list[tuple[int, str, list[str]]], names: tuple[str, ...]) -> Iterator[Record]:
    """The record of a sentence's (number, line, columns); none of one that is comments alone."""
    count = len(names) or next((len(columns) for _, line, columns in held if not line.startswith(COMMENT)), 0)
    words = [
        (number, line, columns)
        for number, line, columns in held
        if not line.startswith(COMMENT) or (len(columns) == count if count else TAG.fullmatch(columns[-1]))
    ]
    if not words:
        return
    count = count or len(words[0][2])
    first, fault = words[0][0], None
    for number, line, columns in words:
        wrong = text_fault(line)
        fault = fault or (f"{wrong} (line {number})" if wrong else _miscounted(columns, count, names, number))
    yield _record(first, [columns for _, _, columns in words], names, fault)


def _columns(line: str) -> list[str]:
    """The columns of a line; a word may hold spaces where tabs separate."""
    return line.rstrip("\r\n").split("\t") if "\t" in line else line.split()


def _miscounted(columns: list[str], count: int, names: tuple[str, ...], number: int) -> str | None:
    if names and len(columns) != len(names):
        return f"line {number} has {len(columns)} columns where `names` has {len(names)}"
    if len(columns) < 2 and not names:
        return f"line {number} has a word and no tag"
    return f"line {number} has {len(columns)} columns where the sentence's first has {count}" if len(columns) != count else None


def _record(first: int, held: list[list[str]], names: tuple[str, ...], fault: str | None) -> Record:
    if fault is not None:
        return Record(first, {}, fault)
    if names:
        return Record(first, {name: [columns[number] for columns in held] for number, name in enumerate(names)})
    return Record(first, {"tokens": [columns[0] for columns in held], "tags": [columns[-1] for columns in held]})


FORMAT = Format((".conll",), records, encoding_notes, shaped=shaped, takes=("names",))
