"""Rows of a local data file: exactly the columns that a task needs, each of the kind its name says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from edgekit.config.toml import toml_string
from edgekit.data.answers import misplaced
from edgekit.data.columns import usable_value
from edgekit.data.form import Write
from edgekit.data.formats import records
from edgekit.data.forms import formed, forms
from edgekit.data.images import FILES, with_files
from edgekit.data.labels import as_table
from edgekit.data.likely import likely_columns
from edgekit.data.reading import AS_NAMED, NO_ROWS, Record, Shape
from edgekit.errors import BadInput
from edgekit.runtime.jsontypes import JsonValue

__all__ = ["OF_SPLITS", "MOST_FAULTS", "Row", "RowCheck", "read_rows", "usable"]

Row: TypeAlias = dict[str, JsonValue]
"""Column of a task -> its value, checked: text, a number, a list of words, or answers."""


@dataclass(frozen=True)
class RowCheck:
    """The model that will read rows, as far as rows are about it."""

    fault: Callable[[Row], str | None]
    """What is wrong with a row for it, beginning with its column; None where nothing is."""
    write: Write | None = None
    """How it writes conversations; None where it has no chat template."""
    told: Callable[[Sequence[Row]], list[str]] | None = None
    """What is told of all rows together; raises BadInput where they cannot be used."""


OF_SPLITS = ("group", "column")
"""Columns of [data.split], which no task has: what they are called there, and in rows while these are split."""
MOST_FAULTS = 10
"""Different faults of one file that are reported together."""
MOST_BAD = 10_000
"""Rows that cannot be used after which no more are read."""
MOST_NAMES, MOST_LIKELY = 50, 1000
"""Columns that are named as being there, and that are compared with those that are missing."""
MOST_LINES = 5
"""Lines that are named of those with the same fault."""
FIX = "correct these rows, or take them out"


def read_rows(
    source: str | Path,
    columns: tuple[str, ...],
    rename: dict[str, str] | None = None,
    absent: tuple[str, ...] = (),
    kinds: Mapping[str, str] = MappingProxyType({}),
    check: RowCheck | None = None,
    *,
    lines: bool = False,
    shape: Shape = AS_NAMED,
) -> list[Row]:
    """Rows of a file of any of `edgekit.data.formats` (also .gz and .xz), each with exactly `columns`, in the file's order.

    `rename` maps a column to its name in the file, where that differs. `absent`: columns of the task that no row may have, as
    they would be ignored silently. `kinds`: column -> the kind of its values, where its name does not say it. Text is kept as it is
    written. Rows in one of `edgekit.data.forms` become those of a task. `check`: asked about each row. `lines`: each line of a .txt file is a
    row; else they are taken together, as language models read them.
    `shape`: what the recipe says of how the file is read.

    Raises:
        BadInput: the file or a row of it cannot be used; up to ten different faults, each with its lines.
    """
    path = Path(source)
    names = [(rename or {}).get(column, column) for column in columns]
    names += [name for form in forms() if set(form.gives) <= set(columns) for name in form.beside]
    given = records(path, lines=lines, columns=names, shape=shape)
    for column in FILES:
        if column in columns:
            given = with_files(given, (rename or {}).get(column, column), path.parent)
    return usable(given, columns, rename, absent, kinds, check, where=str(path))


def usable(
    given: Iterable[Record],
    columns: tuple[str, ...],
    rename: dict[str, str] | None,
    absent: tuple[str, ...] = (),
    kinds: Mapping[str, str] = MappingProxyType({}),
    check: RowCheck | None = None,
    *,
    where: str,
) -> list[Row]:
    """The rows of `given`, when every one of them can be used.

    Raises:
        BadInput: a column that is not there, or one of `absent` that is; a value that is empty or not what the column holds;
            no rows at all.
    """
    named = {column: (rename or {}).get(column, column) for column in columns}
    given, names, _ = formed(given, named, None if check is None else check.write)
    rows: list[Row] = []
    faults: dict[str, list[int]] = {}
    bad = 0
    for record in given:
        fault = record.fault
        if fault is None:
            if not rows and not faults:
                _check_columns(record, names, absent, kinds, where)
            row, fault = _row(record, names, absent, kinds)
            if fault is None and check is not None:
                fault = check.fault(row)
        if fault is None:
            rows.append(row)
        else:
            faults.setdefault(fault, []).append(record.line)
            bad += 1
            if bad == MOST_BAD:
                break
    if faults:
        raise _fault(faults, bad, where)
    if not rows:
        raise BadInput("holds no rows", where=where, fix=NO_ROWS)
    return rows


def _fault(faults: Mapping[str, Sequence[int]], count: int, where: str) -> BadInput:
    """Every fault once, with the lines that have it, of `count` in all."""
    first = next(iter(faults))
    at = f"{where}:{faults[first][0]}"
    if count == 1:
        return BadInput(first, where=at, fix=FIX)
    shown = [f"{_lines(lines)}: {fault}" for fault, lines in list(faults.items())[:MOST_FAULTS]]
    left = sum(len(lines) for lines in list(faults.values())[MOST_FAULTS:])
    least = f"{count:,} rows and perhaps more" if count == MOST_BAD else f"{count} rows"
    return BadInput(f"{least} cannot be used", where=at, faults=[*shown, *([f"and {left} rows more"] if left else [])], fix=FIX)


def _lines(lines: Sequence[int]) -> str:
    more = len(lines) - MOST_LINES
    return f"line{'s' * (len(lines) > 1)} {', '.join(map(str, lines[:MOST_LINES]))}" + (f" and {more} more" if more > 0 else "")


def _check_columns(
    record: Record, names: dict[str, str], optional: tuple[str, ...], kinds: Mapping[str, str], where: str
) -> None:
    """The first good row tells which columns there are."""
    there = list(record.values)
    double = [name for name in names.values() if name in record.duplicates]
    if double:
        raise BadInput(
            f"more than one column is named {', '.join(map(repr, double))}", where=f"{where}:{record.line}",
            fix="rename or remove all but one",
        )  # fmt: skip
    missing = {column: name for column, name in names.items() if name not in there}
    if not missing:
        return
    free = dict(islice(((name, value) for name, value in record.values.items() if name not in names.values()), MOST_LIKELY))
    likely = likely_columns(missing, free, kinds)
    said = {column: name for column, name in names.items() if name != column and column not in missing}
    tables = [as_table("columns", {**said, **{one: likely.get(one, "NAME") for one in missing if one not in OF_SPLITS}})]
    for one in set(OF_SPLITS) & set(missing):
        tables = [*(tables if len(missing) > 1 else []), f"split = {{ {one} = {toml_string(likely.get(one, 'NAME'))} }}"]
    found = ", ".join(map(repr, there[:MOST_NAMES])) + (
        f" and {len(there) - MOST_NAMES:,} more" if len(there) > MOST_NAMES else ""
    )
    may = f" and may have {', '.join(map(repr, optional))}" if optional else ""
    raise BadInput(
        f"a column is missing; found: {found}; rows need {', '.join(map(repr, names))}{may}",
        where=f"{where}:{record.line}",
        faults=[
            f"no column {name!r}" + (f", perhaps {likely[column]!r}" if column in likely else "")
            for column, name in missing.items()
        ],
        fix=f"where the file has it under another name, write {' and '.join(tables)} in [data]",
        see="a-column-is-missing",
    )


def _row(record: Record, names: dict[str, str], absent: tuple[str, ...], kinds: Mapping[str, str]) -> tuple[Row, str | None]:
    """(the columns of a row, the first thing that is wrong with it or None)."""
    row: Row = {}
    for name in absent:
        if name in record.values:
            return {}, f"has a {name!r}, which neither [data.columns] nor the first row names"
    for column, name in names.items():
        if name in record.duplicates:
            return {}, f"{name!r} is given twice"
        if name not in record.values:
            return {}, f"{name!r} is missing"
        row[column], fault = usable_value(kinds.get(column, column), record.values[name])
        if fault is not None:
            return {}, f"{name!r} {fault}"
    tokens, tags = row.get("tokens"), row.get("tags")
    if isinstance(tokens, list) and isinstance(tags, list) and len(tokens) != len(tags):
        return {}, f"has {len(tokens)} tokens and {len(tags)} tags"
    passages, relevance = row.get("passages"), row.get("relevance")
    if isinstance(passages, list) and isinstance(relevance, list) and len(passages) != len(relevance):
        return {}, f"has {len(passages)} passages and {len(relevance)} numbers of relevance"
    answers, context = row.get("answers"), row.get("context")
    if isinstance(answers, dict) and isinstance(context, str) and (fault := misplaced(answers, context)) is not None:
        return {}, f"'answers': {fault}"
    return row, None
