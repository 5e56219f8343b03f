"""Images and sounds in rows: bytes as the datasets library writes them, base64 text, or the path of a file beside the rows; kept as base64 text."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from edgekit.data.reading import Record
from edgekit.errors import BadInput
from edgekit.runtime.files import LONGEST_PATH, is_path, read_file
from edgekit.runtime.jsontypes import JsonValue
from edgekit.runtime.pixels import LARGEST_FILE, readable

__all__ = ["FILES", "file_value", "image_value", "with_files"]

FILES = {"image": "images", "audio": "sounds"}
"""Columns whose values may be paths of files -> what these are."""


def image_value(value: object) -> tuple[JsonValue, str | None]:
    """(the base64 text of an image's file, what is wrong with it or None)."""
    return file_value(value, "image", readable)


def file_value(value: object, what: str, readable: Callable[[str | bytes], bytes]) -> tuple[JsonValue, str | None]:
    """(the base64 text of a file that holds `what`, whose bytes `readable` gives, what is wrong with it or None)."""
    if isinstance(value, dict):
        value = value.get("bytes")
        if value is None:
            return (
                None,
                f"holds no bytes of an {what}; write the data set with its {what}s inside (datasets: embed_external_files)",
            )
    if not isinstance(value, bytes | str):
        return (
            None,
            f"is {'null' if value is None else type(value).__name__}, not an {what}: bytes of its file, their base64 text, or its path",
        )
    try:
        return base64.b64encode(readable(value)).decode("ascii"), None
    except BadInput as fault:
        return None, fault.what


def with_files(records: Iterable[Record], column: str, folder: Path) -> Iterator[Record]:
    """`records` with the bytes of the file in the place of its path in `column`, which is meant relative to `folder` and lies within it.

    A record whose file cannot be used has its fault.
    """
    home = os.path.realpath(folder)
    for record in records:
        value = record.values.get(column)
        if (
            record.fault is not None
            or not isinstance(value, str)
            or not value
            or len(value) > LONGEST_PATH
            or value.startswith("data:")
        ):
            yield record
            continue
        place = os.path.realpath(Path(home, value))
        if not Path(place).is_relative_to(home):
            yield replace(record, fault=f"{column!r} names a file outside the folder of its rows: {value[:60]!r}; put it there")
        elif not os.path.exists(place):  # noqa: PTH110 - a text too long for a name is none of a file
            if is_path(value):
                yield replace(record, fault=f"{column!r} names a file that is not there: {value[:60]!r}, below {home}")
            else:
                yield record  # base64 of a small image, or no file: which of them, reading it tells
        else:
            try:
                yield replace(record, values={**record.values, column: read_file(place, LARGEST_FILE)})
            except BadInput as fault:
                yield replace(record, fault=f"{column!r}: {value[:60]!r} {fault.what}")
