"""A source of rows as its files: one, or those whose names match a pattern, such as parts/train-*.parquet or photos/*/*.jpg.

They come in the order of their names; hidden files, whose names begin with a dot, are none of them.
"""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import BadInput

__all__ = ["files_of"]

MOST = 100_000
"""Files of one source."""


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
