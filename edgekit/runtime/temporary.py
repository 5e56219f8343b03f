"""Temporary folders, and what to do where this machine has no room for any: a read-only system, a full disk.

A process that is killed leaves its folders. Each folder is therefore locked while its process lives, which the system ends with the
process, however that ends; the next process that needs one removes those that nobody holds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.runtime.errors import NotPossibleHere

__all__ = ["NO_ROOM", "held_folder", "hold", "new_folder", "release", "remove_folder", "sweep", "temporary_folder"]

FIX = "free some, or set TMPDIR to a folder that can be written"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
PREFIX = "edgekit-run-"
"""Of folders that are locked. Those of releases before 0.2 are called otherwise, were never locked, and are left alone."""
_held: dict[Path, int] = {}
"""Folders of this process, each with the open descriptor that holds its lock."""


def new_folder(where: Path | str) -> Path:
    """A new empty folder, which the caller removes by `remove_folder`. `where`: what it is for, for messages.

    Raises:
        NotPossibleHere: no folder for temporary files can be written.
    """
    try:
        sweep(Path(tempfile.gettempdir()), f"{PREFIX}*")
        return held_folder(Path(tempfile.gettempdir()), PREFIX)
    except OSError as fault:
        what = f"no folder for temporary files can be written: {fault.strerror or fault}"
        raise NotPossibleHere(what, where=str(where), fix=FIX, see="no-room") from None


def held_folder(inside: Path, prefix: str, suffix: str = "") -> Path:
    """A new empty folder within `inside` that is this process's until `remove_folder`: no `sweep` of another takes it.

    Raises:
        OSError: it cannot be written.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=inside))
        if hold(folder):  # and not swept between being made and being locked
            return folder


def hold(folder: Path) -> bool:
    """Keep `folder` from being swept until `remove_folder`; False where it is being swept already."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        swept = not folder.exists()
    except BlockingIOError:
        swept = True
    except OSError:  # a file system without locks, on which nothing is swept either
        swept = False
    if swept:
        os.close(descriptor)
    else:
        _held[folder] = descriptor
    return not swept


def remove_folder(folder: Path) -> None:
    """Remove a folder that `new_folder` or `held_folder` made, as far as that is possible, and let go of it."""
    shutil.rmtree(folder, ignore_errors=True)
    release(folder)


def release(folder: Path) -> None:
    """Let go of what `hold` keeps, under the name that it had then."""
    descriptor = _held.pop(folder, None)
    if descriptor is not None:
        os.close(descriptor)


def sweep(inside: Path, pattern: str) -> None:
    """Remove this account's folders within `inside` that processes left which are no more."""
    for folder in inside.glob(pattern):
        if folder in _held:
            continue
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # gone meanwhile, no folder, or another account's
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # held, or a file system without locks
            pass
        finally:
            os.close(descriptor)


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
        raise NotPossibleHere(
            f"no room for temporary files: {fault.strerror}", where=str(where), fix=FIX, see="no-room"
        ) from None
    finally:
        remove_folder(folder)
