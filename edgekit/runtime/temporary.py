"""Temporary folders, and what to do where this machine has no room for any: a read-only system, a full disk."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.runtime.errors import NotPossibleHere

__all__ = ["NO_ROOM", "new_folder", "temporary_folder"]

FIX = "free some, or set TMPDIR to a folder that can be written"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def new_folder(where: Path | str) -> Path:
    """A new empty folder, which the caller removes. `where`: what it is for, for messages.

    Raises:
        NotPossibleHere: no folder for temporary files can be written.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="edgekit-"))
    except OSError as fault:
        what = f"no folder for temporary files can be written: {fault.strerror or fault}"
        raise NotPossibleHere(what, where=str(where), fix=FIX) from None


@contextmanager
def temporary_folder(where: Path | str) -> Iterator[Path]:
    """As `new_folder`, removed at the end of the block.

    Raises:
        NotPossibleHere: as `new_folder`, or the disk fills up within the block.
    """
    folder = new_folder(where)
    try:
        yield folder
    except OSError as fault:
        if fault.errno not in NO_ROOM:
            raise
        raise NotPossibleHere(f"no room for temporary files: {fault.strerror}", where=str(where), fix=FIX) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
