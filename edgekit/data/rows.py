"""Rows from local files: JSON lines, CSV or Parquet, plain or packed with gzip or xz; every fault named with its line."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.errors import BadInput

__all__ = ["read_rows"]

LARGEST = 2 * 1024**3
"""Bytes after unpacking; a file that grows beyond is a bomb or belongs in Parquet."""
FAULTS = 10


def read_rows(path: Path, columns: tuple[str, ...], rename: dict[str, str] | None = None) -> list[dict[str, str]]:
    """Rows of `path` with exactly `columns`, all text; `rename` maps a column to its name in the file.

    Raises:
        BadInput: the file or a row of it cannot be used; up to ten faults of one file at once.
    """
    names = {column: (rename or {}).get(column, column) for column in columns}
    if not path.is_file():
        raise BadInput("no such data file", where=str(path))
    rows: list[dict[str, str]] = []
    faults: list[str] = []
    for number, row in _records(path):
        if len(faults) >= FAULTS:
            break
        if isinstance(row, str):
            faults.append(f"line {number}: {row}")
            continue
        absent = [name for name in names.values() if name not in row]
        if absent:
            raise BadInput(
                f"no column {absent[0]!r}; the file has {', '.join(map(repr, row))}",
                where=f"{path}:{number}",
                fix=_nearest(absent[0], list(row)),
            )
        picked = {column: row[name] for column, name in names.items()}
        wrong = [column for column, value in picked.items() if not isinstance(value, str)]
        if wrong:
            faults.append(f"line {number}: {wrong[0]!r} is {type(picked[wrong[0]]).__name__}, not text")
        elif any(not value.strip() for value in picked.values()):
            empty = next(column for column, value in picked.items() if not value.strip())
            faults.append(f"line {number}: {empty!r} is empty")
        else:
            rows.append(picked)
    if faults:
        raise BadInput("rows that cannot be used", where=str(path), faults=faults)
    if not rows:
        raise BadInput("holds no rows", where=str(path))
    return rows


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    hint = f' (perhaps "{close[0]}")' if close else ""
    return f"name the column in [data.columns]{hint}"


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line number, row or what is wrong with it)."""
    kind = next((suffix for suffix in reversed(path.suffixes) if suffix not in {".gz", ".xz"}), "")
    if kind == ".parquet":
        yield from _parquet(path)
    elif kind == ".csv":
        reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
        try:
            for row in reader:
                odd = None in row or None in row.values()
                yield reader.line_num, "has another number of fields than the header" if odd else dict(row)
        except csv.Error as fault:
            yield reader.line_num, str(fault)
    elif kind in {".jsonl", ".json", ".ndjson"}:
        for number, line in enumerate(_text(path).split("\n"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as fault:
                yield number, f"not JSON: {fault}"
                continue
            yield number, row if isinstance(row, dict) else "not a JSON object"
    else:
        raise BadInput(f"unknown kind of data file {''.join(path.suffixes)!r}", where=str(path), fix="use .jsonl, .csv or .parquet")


def _text(path: Path) -> str:
    data = _bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data[: fault.start].count(b"\n") + 1
        raise BadInput("not UTF-8 text", where=f"{path}:{line}", fix="save the file as UTF-8") from None


def _bytes(path: Path) -> bytes:
    """The unpacked bytes, never more than the limit."""
    opened: Any = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)(path, "rb")
    try:
        with opened as file:
            data = bytes(file.read(LARGEST + 1))
    except (OSError, EOFError, lzma.LZMAError) as fault:
        raise BadInput(f"cannot be read: {fault}", where=str(path)) from None
    if len(data) > LARGEST:
        raise BadInput("grows beyond 2 GiB", where=str(path), fix="split the file")
    return data


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(_bytes(path)))
    except (pyarrow.ArrowException, OSError) as fault:
        raise BadInput(f"not a readable Parquet file: {fault}", where=str(path)) from None
    yield from enumerate(table.to_pylist(), 1)
