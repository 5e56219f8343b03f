"""A source of rows as its files: one, or those whose names match a pattern, such as parts/train-*.parquet or photos/*/*.jpg.

They come in the order of their names; hidden files, whose names begin with a dot, are none of them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from edgekit.errors import BadInput

__all__ = ["files_of", "left_aside"]

MOST = 100_000
"""Files of one source."""
NAMED = 5
"""Files or folders that are named."""


def files_of(source: str) -> list[Path]:
    """The files of `source`, a path; one that is not there is told by who reads it.

    Raises:
        BadInput: a pattern that no file matches, or too many do.
    """
    path = Path(source)
    if "*" not in path.name or path.exists():
        return [path]
    folder, pattern = path.parent, path.name
    if "*" in folder.name:  # a folder for each label, of images
        folder, pattern = folder.parent, f"{folder.name}/{pattern}"
    found = sorted(one for one in folder.glob(pattern) if one.name[0] != "." and one.parent.name[:1] != "." and one.is_file())
    if not found or len(found) > MOST:
        raise BadInput(
            f"{len(found):,} files match, more than {MOST:,}" if found else "no file matches",
            where=source,
            fix="check the pattern under [data]: * stands for any part of the name of a file, or of the folder that it is in",
        )
    return found


def left_aside(source: str, read: Collection[Path]) -> list[str]:
    """What is told of a folder for each label, `source` being its pattern: folders without a file of it, and files beside the folders.
    `read`: all files that rows are read from."""
    path = Path(source)
    if path.parent.name != "*" or "*" not in path.name:
        return []
    home, holding = path.parent.parent, {folder for file in read for folder in file.parents}
    inner = sorted(one for one in home.iterdir() if one.name[0] != "." and one not in holding and one not in read)
    empty, beside = ([one.name for one in inner if one.is_dir() == folders] for folders in (True, False))
    told = [f"no file of {path.name} in {_named(empty)}, so that there is no such label"] if empty else []
    return told + ([f"beside the folders of labels, not read: {_named(beside)}"] if beside else [])


def _named(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(map(repr, names[:NAMED])) + (f" and {more:,} more" if more > 0 else "")
