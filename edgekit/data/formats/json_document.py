"""JSON: one document, a list of rows or an object with such lists under names (`members`), each row an object or a list of values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.data.reading import AS_NAMED, Format, Record, Shape, read_bytes
from edgekit.errors import BadInput

__all__ = ["FORMAT", "read_document"]

LARGEST = 256 * 1024**2
"""Bytes of a document, which is parsed whole: its values take several times as much."""
SHOWN = 20


def records(path: Path, packing: str) -> Iterator[Record]:
    return shaped(path, packing, AS_NAMED)


def shaped(path: Path, packing: str, shape: Shape) -> Iterator[Record]:
    """A record of each row; it is numbered by its place in its list."""
    for rows in _lists(read_document(path, packing), shape.members, path):
        for number, row in enumerate(rows, 1):
            yield _record(number, row, shape.names)


def read_document(path: Path, packing: str) -> Any:
    """The document in `path`.

    Raises:
        BadInput: too large, no JSON, or an object in it that has a name twice.
    """
    data = read_bytes(path, packing)
    if len(data) > LARGEST:
        raise BadInput(
            f"a JSON document of more than {LARGEST / 1024**2:.0f} MiB", where=str(path), fix="write a row a line, as .jsonl"
        )
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_different)
    except UnicodeDecodeError as fault:
        raise BadInput(f"not UTF-8: byte {fault.start} ({fault.reason})", where=str(path), fix="save it as UTF-8") from None
    except (ValueError, RecursionError) as fault:
        raise BadInput(f"not JSON: {fault}", where=str(path), fix="where each line is a row, the file is .jsonl") from None


def _different(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)[:80]!r} is given twice in one object")
    return found


def _lists(document: Any, members: Sequence[str], path: Path) -> list[list[Any]]:
    if not members:
        if isinstance(document, list):
            return [document]
        lists = [name for name, value in document.items() if isinstance(value, list)] if isinstance(document, dict) else []
        known = (
            f"say which of its lists they are: members = {json.dumps(lists[:SHOWN], ensure_ascii=False)}"
            if lists
            else "use .jsonl"
        )
        raise BadInput("no list of rows", where=str(path), fix=known)
    if not isinstance(document, dict):
        raise BadInput("holds a list and no members", where=str(path), fix="leave `members` out")
    missing = [name for name in members if not isinstance(document.get(name), list)]
    if missing:
        there = [name for name, value in document.items() if isinstance(value, list)]
        raise BadInput(
            f"no list called {', '.join(map(repr, missing))}", where=str(path), fix=f"members of this file: {', '.join(there[:SHOWN]) or 'none'}"
        )  # fmt: skip
    return [document[name] for name in members]


def _record(number: int, row: Any, names: Sequence[str]) -> Record:
    if isinstance(row, dict):
        return Record(number, row) if not names else Record(number, {}, "has names of its own; leave `names` out")
    if not isinstance(row, list):
        return Record(number, {}, "not a JSON object")
    if not names:
        return Record(number, {}, 'is a list of values; say what they are called, as in names = ["text", "label"]')
    if len(row) != len(names):
        return Record(number, {}, f"{len(row)} values where `names` has {len(names)}")
    return Record(number, dict(zip(names, row, strict=True)))


FORMAT = Format((".json",), records, shaped=shaped, takes=("names", "members"))
