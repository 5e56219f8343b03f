"""JSON: one document, a list of rows or an object with such lists under names (`members`), each row an object or a list of values.

An object may also hold rows as pandas writes a table: by columns, by rows' numbers, or names and values apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.data.encodings import UTF8, encoding_of
from edgekit.data.likely import OFTEN
from edgekit.data.reading import AS_NAMED, NO_ROWS, Format, Record, Shape, read_bytes, said_of
from edgekit.errors import BadInput

__all__ = ["FORMAT", "read_document", "rows_of_table"]

LARGEST = 256 * 1024**2
"""Bytes of a document, which is parsed whole: its values take several times as much."""
SHOWN = 20
AS_ROWS = (
    'write a list of rows, [{"text": "...", "label": "..."}], or one a line, as .jsonl; '
    'from pandas: df.to_json("rows.jsonl", orient="records", lines=True)'
)


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
    if not data.strip():
        raise BadInput("holds no rows", where=str(path), fix=NO_ROWS)
    encoding = _encoding(data, path)
    try:
        return json.loads(data.decode("utf-8-sig" if encoding == UTF8 else encoding), object_pairs_hook=_different)
    except UnicodeError as fault:
        at = f": byte {fault.start} ({fault.reason})" if isinstance(fault, UnicodeDecodeError) else ""
        raise BadInput(f"not {encoding}{at}", where=str(path), fix="save it as UTF-8") from None
    except (ValueError, RecursionError) as fault:
        raise BadInput(f"not JSON: {fault}", where=str(path), fix="where each line is a row, the file is .jsonl") from None


def notes(path: Path, packing: str, shape: Shape) -> list[str]:
    return said_of(_encoding(read_bytes(path, packing), path))


def _encoding(data: bytes, path: Path) -> str:
    """By each text in quotes, as a document may be one line, which a single damaged letter says nothing of."""
    return encoding_of([data], str(path), ends=b'"')


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
        if isinstance(document, dict) and (rows := rows_of_table(document)) is not None:
            return [rows]
        lists = (
            [
                name
                for name, value in document.items()
                if isinstance(value, list) and isinstance((value or [{}])[0], list | dict)
            ]
            if isinstance(document, dict)
            else []
        )
        known = (
            f"say which of its lists they are: members = {json.dumps(lists[:SHOWN], ensure_ascii=False)}" if lists else AS_ROWS
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


def rows_of_table(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of an object that is a table as pandas writes it (`to_json`, `to_dict`): names and values apart ("split"), a list for each
    column ("list"), values by the rows' numbers for each column ("columns"), or the rows by their numbers ("index"); None for any other.

    Lists alone might be anything, such as the texts of each label: one must have a name that columns of texts have.
    """
    values = list(document.values())
    if {"columns", "data"} <= set(document) and all(isinstance(document[name], list) for name in ("columns", "data")):
        names, rows = document["columns"], document["data"]
        whole = all(isinstance(row, list) and len(row) == len(names) for row in rows)
        return [dict(zip(map(str, names), row, strict=True)) for row in rows] if whole else None
    if values and all(isinstance(value, list) for value in values):
        named = any(name.casefold() in ("text", *OFTEN["text"]) for name in document)
        plain = any(value and not isinstance(value[0], list | dict) for value in values)
        whole = named and plain and len({len(value) for value in values}) == 1
        return [dict(zip(document, row, strict=True)) for row in zip(*values, strict=True)] if whole else None
    if not values or not all(isinstance(value, dict) and value for value in values):
        return None
    if len({tuple(value) for value in values}) == 1 and all(name.isdigit() for name in values[0]):
        return [{name: value[number] for name, value in document.items()} for number in values[0]]
    return values if len(values) > 1 and any(isinstance(value, str) for value in values[0].values()) else None


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


FORMAT = Format((".json",), records, notes, shaped=shaped, takes=("names", "members"))
