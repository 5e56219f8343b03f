"""A sound file: one record, whose label is the name of its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgekit.data.reading import Format, Record, read_bytes

__all__ = ["FORMAT"]


def records(path: Path, packing: str) -> Iterator[Record]:
    yield Record(1, {"audio": read_bytes(path, packing), "label": path.parent.name})


FORMAT = Format((".flac", ".wav"), records)
