"""Files from outside: looked at before they are opened, opened only where they are plain files, and never read beyond a limit.

A path may be a named pipe that nobody writes to, a device without an end, a link to one, or a sparse file of terabytes. Whoever reads
a file whole says how large such a file may be.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import stat
from itertools import islice
from pathlib import Path

from edgekit.runtime.errors import BadInput

__all__ = [
    "LONGEST_PATH", "cache_folder", "check_file", "check_name", "given_file", "is_path", "open_file", "read_file", "read_utf8",
]  # fmt: skip

MOST_BESIDE = 1000
"""Files of a folder that are compared with one that is not there."""
ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")
"""A file's ending, such as .png."""
BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]*=*[\r\n]*")
"""What base64 text is made of, whole or cut off."""
LONGEST_PATH = 1000
"""Characters of a text that may be a path; the base64 text of the smallest image that is worth keeping is about as long."""
FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""O_NONBLOCK: opening what became a pipe since it was looked at does not wait for a writer."""
KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)  # fmt: skip


def cache_folder() -> Path:
    """Where what this user's machine can find out or fetch again is kept: below $XDG_CACHE_HOME, or ~/.cache; never fails, even without a home."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")  # noqa: PTH111, PTH118 - never raises
    return Path(base) / "edgekit"


def check_name(path: str | Path, where: str | None = None) -> None:
    """Refuse a path that is not UTF-8: records cannot hold it, and ONNX Runtime cannot open it.

    Raises:
        BadInput: its bytes are not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise BadInput("the path is not UTF-8", where=where or str(path), fix="rename the file or folder") from None


def check_file(path: str | Path, most: int | None = None, *, fix: str | None = None) -> int:
    """The size in bytes of the plain file `path`, links followed, which is not opened. `most`: the largest that such a file may be;
    `fix`: what to do where it is not there.

    Raises:
        BadInput: it is not there or out of reach, no plain file, or larger.
    """
    try:
        return _size(Path(path).stat(), path, most)
    except (OSError, ValueError) as fault:
        raise _unreadable(fault, path, fix) from None


def open_file(path: str | Path, most: int | None = None, *, fix: str | None = None) -> io.BufferedReader:
    """The plain file `path`, open for reading.

    Raises:
        BadInput: as `check_file`.
    """
    check_file(path, most, fix=fix)  # before opening: that alone makes some devices act
    try:
        descriptor = os.open(path, FLAGS)
    except (OSError, ValueError) as fault:
        raise _unreadable(fault, path, fix) from None
    try:
        _size(os.fstat(descriptor), path, most)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: str | Path, most: int, *, fix: str | None = None) -> bytes:
    """The contents of the plain file `path`.

    Raises:
        BadInput: as `check_file`, or it cannot be read.
    """
    with open_file(path, most, fix=fix) as file:
        try:
            data = file.read(most + 1)  # files that the kernel makes, and those that grow, hold more than their size says
        except OSError as fault:
            raise _unreadable(fault, path, fix) from None
    if data is None:  # not there yet, as of the kernel's own log
        raise BadInput("cannot be read without waiting", where=str(path))
    if len(data) > most:
        raise _too_large(path, most)
    return data


def given_file(item: object, what: str, most: int, *, wanted: str, smaller: str) -> bytes:
    """The bytes of a file that is given by its path, as bytes, or as base64 text, with or without data: before it.

    `what`: the kind of file with its article, as "an image". `wanted` and `smaller`: what to do about what is no such file, and about one of more
    than `most` bytes.

    Raises:
        BadInput: nothing of these, text that is no base64, an empty file, or one that is too large.
    """
    if isinstance(item, Path):
        data = read_file(item, most)
    elif isinstance(item, str):
        text = item.partition(",")[2] if item.startswith("data:") else item
        if len(text) > most * 4 // 3 + 4:
            raise BadInput(f"{what} of more than {most:,} bytes", fix=smaller)
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            told = "a path, which is not read here, and no base64" if is_path(item) else "text that is no base64"
            raise BadInput(f"{told}: {item[:40]!r}", fix=wanted) from None
    elif isinstance(item, bytes):
        data = item
    else:
        raise BadInput(f"{type(item).__name__} is no {what.partition(' ')[2]}", fix=wanted)
    if not data:
        raise BadInput(
            f"the {what.partition(' ')[2]} is empty: 0 bytes",
            where=str(item) if isinstance(item, Path) else None,
            fix="give the whole file",
        )
    if len(data) > most:
        raise BadInput(f"{what} of more than {most:,} bytes", fix=smaller)
    return data


def is_path(text: str) -> bool:
    """Whether a text that names no file here was meant to: it has a file's ending or a slash, and what base64 has not."""
    told = ENDING.search(text) is not None or "/" in text or "\\" in text
    return told and len(text) <= LONGEST_PATH and not text.startswith("data:") and BASE64.fullmatch(text) is None


def read_utf8(path: str | Path, most: int, *, fix: str | None = None) -> str:
    """The text of the plain file `path`, whose lines may end in any way.

    Raises:
        BadInput: as `read_file`, or it is not UTF-8.
    """
    data = read_file(path, most, fix=fix)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise BadInput(f"not UTF-8: byte {fault.start} ({fault.reason})", where=str(path), fix="save it as UTF-8") from None


def _size(state: os.stat_result, path: str | Path, most: int | None) -> int:
    if not stat.S_ISREG(state.st_mode):
        kind = next((name for test, name in KINDS if test(state.st_mode)), "no plain file")
        raise BadInput(f"is {kind}, not a file", where=str(path), fix="name a file")
    if most is not None and state.st_size > most:
        raise _too_large(path, most)
    return state.st_size


def _too_large(path: str | Path, most: int) -> BadInput:
    return BadInput(
        f"larger than {most:,} bytes, which no such file is", where=str(path), fix="check that it is the right file"
    )


def _nearest(path: Path) -> str:
    """What to do about a file that is not there: the like-named one beside it, or where nothing is."""
    folder = path.parent
    if not folder.is_dir():
        return f"check the path: there is no folder {folder}"
    import difflib  # where it is needed, which is seldom

    try:
        close = difflib.get_close_matches(path.name, [entry.name for entry in islice(folder.iterdir(), MOST_BESIDE)], n=1)
    except OSError:
        close = []
    return (
        f"did you mean {folder / close[0]}?" if close else f"check the path: {folder.absolute().name or '/'} has no {path.name}"
    )


def _unreadable(fault: OSError | ValueError, path: str | Path, fix: str | None) -> BadInput:
    if isinstance(fault, FileNotFoundError):
        return BadInput("no such file", where=str(path), fix=fix or _nearest(Path(path)))
    what = fault.strerror if isinstance(fault, OSError) else str(fault)  # ValueError: a NUL within the path
    return BadInput(f"cannot be read: {what}", where=str(path), fix=fix)
