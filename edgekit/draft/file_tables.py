"""Tables in a folder of images or sounds whose rows name these files: what such a folder's rows are, and not the folders that the files lie in."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from edgekit.data.reading import Record
from edgekit.draft.held_files import folders_in, is_held
from edgekit.errors import BadInput
from edgekit.runtime.files import LONGEST_PATH

__all__ = ["tables_of_files"]

TABLE = re.compile(r"(?i)[^.].*\.(?:csv|tsv|jsonl|ndjson|json|parquet)(?:\.[a-z0-9]+)?$")
"""Names of files that may be such tables."""
TRIED = 20
"""Rows of a table that are looked at."""
MOST = 100_000
"""Files whose names are compared with those that a table has."""
SHOWN = 6
"""Files that a message names."""

Read = Callable[[Path], Iterator[Record]]
"""The records of a table."""


def tables_of_files(home: Path, splits: Mapping[str, re.Pattern[str]], read: Read) -> dict[str, str]:
    """Key of [data] -> the table of its rows, in `home` or in folders of splits there; none where no table names files in folders of `home`.

    `splits`: how the names of a split's files and folders begin.

    Raises:
        BadInput: several tables, of which no name says which is meant; one for files of several splits; one that names files otherwise than by
            their paths below its own folder.
    """
    inner = folders_in(home)
    if not any(map(_in_it, inner)):
        return {}
    if own := _naming(home, read):
        if len(own) == 1:
            _check_one_split(home, own[0], splits, read)
            return {"file": str(own[0])}
        return _by_split(home, own, {table: table.name for table in own}, splits)
    tables = [table for folder in inner for table in _naming(folder, read)]
    if not tables:
        return {}
    return _by_split(home, tables, {table: table.parent.name for table in tables}, splits)


def _by_split(
    home: Path, tables: list[Path], names: Mapping[Path, str], splits: Mapping[str, re.Pattern[str]]
) -> dict[str, str]:
    """Key of [data] -> its table, by their `names`."""
    found: dict[str | None, list[Path]] = {}
    for table in tables:
        found.setdefault(_split(names[table], splits), []).append(table)
    alone = all(len(of_one) == 1 for of_one in found.values())
    if alone and None not in found and "train" in found and len(found) > 1:
        return {key: str(found[key][0]) for key in splits if key in found}
    shown = [str(table.relative_to(home)) for table in tables]
    more = [f"and {len(shown) - SHOWN} more"] if len(shown) > SHOWN else []
    raise BadInput(
        "tables that name images or sounds, and nothing says which of them is meant", where=str(home), faults=[*shown[:SHOWN], *more],
        fix=f"name one, as in --data {shlex.quote(str(tables[0]))}, or call them train.csv, validation.csv and test.csv and leave no other there",
    )  # fmt: skip


def _split(name: str, splits: Mapping[str, re.Pattern[str]]) -> str | None:
    return next((split for split, words in splits.items() if words.match(name)), None)


def _check_one_split(home: Path, table: Path, splits: Mapping[str, re.Pattern[str]], read: Read) -> None:
    """Raises BadInput for a table of files that lie in folders of several splits."""
    first = (
        Path(value).parts[0]
        for record in read(table)
        for value in _paths(record)
        if is_held(Path(value)) and len(Path(value).parts) > 1 and not Path(value).is_absolute()
    )
    found = {split: name for name in dict.fromkeys(first) if (split := _split(name, splits)) and (home / name).is_dir()}
    if len(found) > 1:
        raise BadInput(
            f"one table for files in folders of several splits ({', '.join(found.values())})", where=str(table),
            fix="write a table for each split beside it, train.csv, validation.csv and test.csv, and leave this one out",
        )  # fmt: skip


def _naming(folder: Path, read: Read) -> list[Path]:
    """The tables in `folder` that name images or sounds in or below it.

    Raises:
        BadInput: none does, and one has their names without the folders that they lie in.
    """
    tables = sorted(path for path in folder.iterdir() if TABLE.match(path.name) and path.is_file())
    begun = {table: _begun(table, read) for table in tables}
    found = [table for table, rows in begun.items() if any(_is_there(value, folder) for row in rows for value in _paths(row))]
    if found or not begun:
        return found
    names: dict[str, Path] = {}
    for path in itertools.islice(_media(folder), MOST):
        names.setdefault(path.name, path)
    stems = {path.stem: path for path in names.values() if not path.stem.isdecimal()}
    for table, rows in begun.items():
        for column in dict.fromkeys(name for row in rows for name in row.values):
            values = [str(row.values.get(column)) for row in rows]
            bare = [value.replace("\\", "/").rpartition("/")[2] for value in values]
            by_name = [names[name] for name in bare if name in names]
            lies = by_name or ([stems[name] for name in bare] if all(name in stems for name in bare) else [])
            if lies:
                raise BadInput(
                    f"column {column!r} has {values[0][:60]!r}, which is no path from the table's own folder to a file", where=str(table),
                    fix=f"write paths as seen from there, as in {lies[0].relative_to(folder).as_posix()}; where folders are the labels, take the "
                    "table away",
                )  # fmt: skip
    return []


def _begun(table: Path, read: Read) -> list[Record]:
    """The first sound records of a file; none of one that is no table, as an object alone is none."""
    try:
        begun = [*itertools.islice((record for record in read(table) if record.fault is None), TRIED)]
    except BadInput:
        return []
    return begun if len(begun) > 1 else []


def _paths(record: Record) -> Iterable[str]:
    """The values of a record that may be paths."""
    return (value for value in record.values.values() if isinstance(value, str) and 0 < len(value) <= LONGEST_PATH)


def _is_there(value: str, folder: Path) -> bool:
    """Whether a text names an image or a sound below `folder`."""
    if not is_held(Path(value)) or "\0" in value:
        return False
    place = Path(os.path.realpath(folder / value))
    return place.is_relative_to(os.path.realpath(folder)) and os.path.isfile(place)  # noqa: PTH113 - a text too long for a name is none


def _in_it(folder: Path) -> bool:
    """Whether `folder` holds an image or a sound, at any depth."""
    return next(_media(folder), None) is not None


def _media(folder: Path) -> Iterator[Path]:
    """Images and sounds in `folder` and below it, links to folders not followed."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from (Path(place, name) for name in sorted(files) if name[0] != "." and is_held(Path(name)))
