"""File formats: one file a format, which holds `FORMAT`; each also packed with gzip or xz."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from edgekit.data.reading import AS_NAMED, PACKINGS, Format, Record, Shape, Unread, most_unpacked
from edgekit.errors import BadInput

__all__ = ["endings", "notes_on", "quickly_read", "read_once", "records"]

QUICK = 8 * 1024**2
"""Bytes of files that are read when a plan is made; more take their time in the first stage."""
PACKED = 8
"""How many times as long text is as its packed file, about."""
OTHERS = {
    (
        ".tar",
        ".tar.gz",
        ".tar.xz",
        ".tar.bz2",
        ".tgz",
        ".txz",
    ): "unpack it (tar -xf) and name the file or the folder that comes out",
    (
        ".zip",
        ".7z",
        ".rar",
        ".bz2",
        ".zst",
        ".lz4",
    ): "unpack it (unzip, 7z x, unrar x, bunzip2, unzstd, lz4 -d) and name the file that comes out",
    (".xls", ".xlsx", ".ods", ".numbers"): "save it as .csv in UTF-8, the sheet with the rows alone",
    (".feather", ".arrow", ".orc", ".avro"): "write it as .parquet: datasets and pandas read it, and have to_parquet",
    (
        ".pkl",
        ".pickle",
        ".pt",
        ".npy",
        ".npz",
        ".h5",
        ".hdf5",
    ): "write its rows as .parquet or .jsonl: pandas has to_parquet and to_json",
    (".db", ".sqlite", ".sqlite3"): "write the rows that are meant as .csv, as by sqlite3 -header -csv FILE 'select ...'",
    (
        ".xml",
        ".html",
        ".htm",
        ".yaml",
        ".yml",
        ".md",
        ".doc",
        ".docx",
        ".pdf",
    ): "write a table of its texts, a row each, as .csv or .jsonl",
}
"""Ends of names of files that hold rows, and are not read -> how they become what is."""
_Key = tuple[Path, int, int, bool, Shape]
_kept: ContextVar[dict[_Key, list[Record]] | None] = ContextVar("records that were read", default=None)
"""Records of a file in one state of it; None where nobody asked to keep them."""


@cache
def _formats() -> dict[str, Format]:
    """The format of each ending."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    formats: list[Format] = [module.FORMAT for module in modules]
    return {ending: format_ for format_ in formats for ending in format_.endings}


def endings() -> list[str]:
    """Endings of the files that can be read, packing left out."""
    return sorted(_formats())


def records(
    path: Path, *, lines: bool = False, columns: Collection[str] | None = None, shape: Shape = AS_NAMED
) -> Iterator[Record]:
    """Every record of `path`, in order. `lines`: where a format has no records of its own, each line is one. `columns`: those whose values
    are needed; None for all. `shape`: what the recipe says of how the file is read.

    Raises:
        BadInput: no such file, no plain file, an unknown format, one that takes no such shape, damaged packing, or more bytes than
            `edgekit.data.reading.LARGEST`.
    """
    format_, packing = _format_of(path, shape)
    kept = _kept.get()
    if kept is None or not quickly_read([path]):
        return _made(format_, path, packing, lines, columns, shape)
    state = path.stat()
    key = (path, state.st_mtime_ns, state.st_size, lines, shape)
    wanted = () if format_.some is None or columns is None else columns
    if (found := kept.get(key)) is not None and not (wanted and _lacks(found, wanted)):
        return iter(found)
    given = _made(format_, path, packing, lines, columns, shape)
    return given if wanted else _keeping(given, kept, key)


def _made(
    format_: Format, path: Path, packing: str, lines: bool, columns: Collection[str] | None, shape: Shape
) -> Iterator[Record]:
    if format_.shaped is not None and (shape.names or shape.members):
        return format_.shaped(path, packing, shape)
    if columns is not None and format_.some is not None:
        return format_.some(path, packing, columns)
    return (format_.lines if lines and format_.lines is not None else format_.records)(path, packing)


def _keeping(given: Iterator[Record], kept: dict[_Key, list[Record]], key: _Key) -> Iterator[Record]:
    """`given`, which is kept once it was read to its end."""
    made: list[Record] = []
    for record in given:
        made.append(record)
        yield record
    kept[key] = made


def _lacks(given: list[Record], columns: Collection[str]) -> bool:
    """Whether a value of `columns` was passed over: who needs it is told more by the format."""
    return any(isinstance(record.values.get(name), Unread) for record in given for name in columns)


@contextmanager
def read_once() -> Iterator[None]:
    """While it lasts, files that are quickly read are parsed once for all who ask for their records, which nobody may change."""
    before = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(before)


def quickly_read(paths: Iterable[Path]) -> bool:
    """Whether files, taken together, are read in a second or so."""
    sizes = [path.stat().st_size * (PACKED if path.suffix.lower() in PACKINGS else 1) for path in paths]
    return sum(sizes) <= QUICK


def notes_on(path: Path, shape: Shape = AS_NAMED) -> list[str]:
    """How `path` is read, where neither its name nor the recipe says it.

    Raises:
        BadInput: as `records`.
    """
    format_, packing = _format_of(path, shape)
    return format_.notes(path, packing, shape)


def _format_of(path: Path, shape: Shape) -> tuple[Format, str]:
    most_unpacked(path)
    suffixes = (
        [f".{part}" for part in shape.format.lower().split(".")]
        if shape.format
        else [suffix.lower() for suffix in path.suffixes]
    )
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKINGS else ""
    ending = suffixes[-1] if suffixes else ""
    if ending not in _formats():
        known = f'use {", ".join(endings())}, each also with .gz or .xz; or say what it is, as in format = "csv" in a table of [data]'
        fix = (
            next((how for ends, how in OTHERS.items() if path.name.lower().endswith(ends)), None) if not shape.format else None
        )
        raise BadInput(f"unknown kind of data file {ending + packing!r}", where=str(path), fix=fix or known)
    format_ = _formats()[ending]
    for key in ("names", "members"):
        if getattr(shape, key) and key not in format_.takes:
            takers = [other for other in endings() if key in _formats()[other].takes]
            raise BadInput(
                f"`{key}` says nothing of a {ending} file", where=str(path), fix=f"leave it out; it is for {', '.join(takers)}"
            )
    return format_, packing
