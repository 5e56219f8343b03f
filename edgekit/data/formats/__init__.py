"""File formats: one file a format, which holds `FORMAT`; each also packed with gzip or xz."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from edgekit.data.reading import PACKINGS, Format, Record, most_unpacked
from edgekit.errors import BadInput

__all__ = ["endings", "notes_on", "records"]


@cache
def _formats() -> dict[str, Format]:
    """The format of each ending."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    formats: list[Format] = [module.FORMAT for module in modules]
    return {ending: format_ for format_ in formats for ending in format_.endings}


def endings() -> list[str]:
    """Endings of the files that can be read, packing left out."""
    return sorted(_formats())


def records(path: Path, *, lines: bool = False, columns: Collection[str] | None = None) -> Iterator[Record]:
    """Every record of `path`, in order. `lines`: where a format has no records of its own, each line is one. `columns`: those whose values
    are needed; None for all.

    Raises:
        BadInput: no such file, no plain file, an unknown format, damaged packing, or more bytes than `edgekit.data.reading.LARGEST`.
    """
    format_, packing = _format_of(path)
    if columns is not None and format_.some is not None:
        return format_.some(path, packing, columns)
    return (format_.lines if lines and format_.lines is not None else format_.records)(path, packing)


def notes_on(path: Path) -> list[str]:
    """How `path` is read, where its name does not say it.

    Raises:
        BadInput: as `records`.
    """
    format_, packing = _format_of(path)
    return format_.notes(path, packing)


def _format_of(path: Path) -> tuple[Format, str]:
    most_unpacked(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKINGS else ""
    ending = suffixes[-1] if suffixes else ""
    if ending not in _formats():
        known = f"use {', '.join(endings())}, each also with .gz or .xz"
        raise BadInput(f"unknown kind of data file {ending + packing!r}", where=str(path), fix=known)
    return _formats()[ending], packing
