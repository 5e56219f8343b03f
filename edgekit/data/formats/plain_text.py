"""Plain text, which has no records of its own.

To tasks of encoders each line is a record with its `text`, blank lines passed over. To language models, whole lines are taken together
until another one would make more than `PIECE` characters: one record with its `text`, without the white space around it. A line longer
than that is cut at its last space within. Nothing but white space between records is lost, and a record may hold several paragraphs or
begin within an article.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgekit.data.reading import Format, Record, encoding_notes, read_lines, text_fault

__all__ = ["FORMAT", "PIECE"]

PIECE = 2000
"""Characters of a record of plain text at most; about 450 tokens of English to a tokenizer of 50,000."""


def lines(path: Path, packing: str) -> Iterator[Record]:
    """A record of each line that is not blank, as it is written but for its end."""
    for number, line in enumerate(read_lines(path, packing), 1):
        if fault := text_fault(line):
            yield Record(number, {}, fault)
        elif line.strip():
            yield Record(number, {"text": line.rstrip("\r\n")})


def records(path: Path, packing: str) -> Iterator[Record]:
    held, first = "", 1
    for number, line in enumerate(read_lines(path, packing, parts=True), 1):
        if fault := text_fault(line):
            yield Record(number, {}, fault)
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


FORMAT = Format((".txt",), records, encoding_notes, lines)
