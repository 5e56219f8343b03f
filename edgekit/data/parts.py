"""A source of rows as its files: one, or those whose names match a pattern, such as parts/train-*.parquet, in the order of their names."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import BadInput

__all__ = ["files_of"]

MOST = 10_000
"""Files of one source."""


def files_of(source: str) -> list[Path]:
    """The files of `source`, a path; one that is not there is told by who reads it.

    Raises:
        BadInput: a pattern that no file matches, or too many do.
    """
    path = Path(source)
    if "*" not in path.name or path.exists():
        return [path]
    found = sorted(one for one in path.parent.glob(path.name) if one.is_file())
    if not found or len(found) > MOST:
        raise BadInput(
            f"{len(found):,} files match, more than {MOST:,}" if found else "no file matches",
            where=source,
            fix="check the pattern under [data]: * stands for any part of a file's name",
        )
    return found
