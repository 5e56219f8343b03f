"""Whether results can be written where they are to go, before any work is done for them; and files that are there whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
from pathlib import Path

from edgekit.runtime.errors import BadInput, EdgekitError, NotPossibleHere
from edgekit.runtime.files import check_name
from edgekit.runtime.temporary import hold, release

__all__ = ["FULL", "cannot_write", "check_output_file", "check_output_folder", "put_in_place", "write_atomically"]

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""What the system says where nothing more can be written: sound, but not possible here."""
AT_FDCWD, EXCHANGE = -100, 2
"""Of renameat2(2): paths as they are, RENAME_EXCHANGE."""


def check_output_file(path: Path, asked: str) -> None:
    """Refuse a place for a file that cannot be written. `asked`: the option that names it.

    Raises:
        BadInput: it is a folder, there is no folder for it, or nothing may be written there.
        NotPossibleHere: the disk is full or can only be read.
    """
    where = f"{asked} {path}"
    _refuse_name(path, where)
    try:
        if path.is_dir():
            raise BadInput("is a folder, and a file is written", where=where, fix="name a file in it")
        if path.exists() and not path.is_file():
            raise BadInput("is no plain file", where=where, fix="name a file in a folder that is there")
        if not path.parent.is_dir():
            if path.parent.exists():
                raise BadInput(f"{path.parent.name} is no folder", where=where, fix="name a file in a folder that is there")
            raise BadInput("there is no such folder for it", where=where, fix=f"make the folder {path.parent} first")
    except OSError as fault:  # a name that is too long
        raise cannot_write(fault, where) from None
    _try(path.parent, where)


def check_output_folder(path: Path, asked: str) -> None:
    """Refuse a place for a folder of results, made where it is missing, that cannot be one. `asked`: the option that names it.

    Raises:
        BadInput: it, or a folder on the way to it, is a file, or nothing may be written there.
        NotPossibleHere: the disk is full or can only be read.
    """
    where = f"{asked} {path}"
    _refuse_name(path, where)
    try:
        there = next(folder for folder in (path, *path.absolute().parents) if folder.exists() or folder.is_symlink())
    except OSError as fault:
        raise cannot_write(fault, where) from None
    if not there.is_dir():
        raise BadInput(f"{there} is no folder, and results are written into one", where=where, fix="name a folder")
    _try(there, where)


def write_atomically(path: Path, text: str) -> None:
    """Write `text` under a temporary name in the same folder, sync it, then rename: readers see the old or the new file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # of an earlier process of this number, that was killed
    try:
        with temporary.open("x", encoding="utf-8") as file:  # never through a link that somebody laid there
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(work: Path, target: Path) -> None:
    """Give the folder or file `work` the name `target`, on the same file system, at once: whoever looks finds what was there or what is new.

    What was there lies at `work` afterwards, where the system can exchange the two, and else is removed.
    """
    while True:
        try:
            if not target.exists() or not target.is_dir():
                os.replace(work, target)
            elif not _exchange(work, target):
                _put_aside(work, target)
            return
        except OSError as fault:  # somebody else was faster, and the other way it is now
            if fault.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR) or not work.exists():
                raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two files or folders; False where the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # Linux' own, of glibc 2.28
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # of file systems that do not know it
        return False
    raise OSError(number, os.strerror(number), str(other))


def _put_aside(work: Path, target: Path) -> None:
    """The same with a moment between in which `target` is not there; it comes back where that fails."""
    aside = work.with_suffix(".old")
    there = hold(target)  # under its other name too, under which no other call may sweep it while it may have to come back
    try:
        if there:
            os.replace(target, aside)
        try:
            os.replace(work, target)
        except BaseException:
            if there:
                os.replace(aside, target)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        release(target)


def cannot_write(fault: OSError, where: str) -> EdgekitError:
    """What is said of a place that the system does not let be written to."""
    said = f"cannot be written: {fault.strerror or fault}"
    if fault.errno in FULL:
        return NotPossibleHere(said, where=where, fix="free some space there, or name a folder on another disk")
    shorter = fault.errno == errno.ENAMETOOLONG
    return BadInput(said, where=where, fix="give a shorter name" if shorter else "name a folder that can be written")


def _refuse_name(path: Path, where: str) -> None:
    check_name(path, where)
    if "\0" in str(path):
        raise BadInput("holds a null character, which no path has", where=where.replace("\0", "\\0"), fix="leave it out")
    if path.parts and path.parts[0].startswith("~") and not Path(path.parts[0]).exists():
        raise BadInput(
            "~ stands for a home folder in a shell alone, and none has replaced it here", where=where,
            fix='write the whole path, or "$HOME" for ~',
        )  # fmt: skip


def _try(folder: Path, where: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
            file.flush()
    except OSError as fault:
        raise cannot_write(fault, where) from None
