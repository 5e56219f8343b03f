"""A bundle archive, read as what it is: a file from outside. Only plain files directly below bundle/ come out of it.

Python's own extraction filters stop at names and links; an archive can also claim or inflate to more than a device has, hide a huge
extension header that is read into memory at once, chain thousands of them, each a call within another, or carry on after its end.
"""

from __future__ import annotations

import errno
import gzip
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import Any

from edgekit.runtime.bundle.manifest import SAFE_NAME
from edgekit.runtime.bundle.names import LARGEST_BUNDLE
from edgekit.runtime.bundle.seal import check_seal
from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.files import check_file, open_file

__all__ = ["unpack"]

RATIO, SMALL = 100, 64 * 1024**2
"""Weights shrink to half at best, with many zeros to a tenth; what grows a hundred times, and beyond 64 MiB, is no bundle."""
MEMBERS = 64
SIP = 1 << 20
EXTENSIONS, MOST_EXTENSIONS = (*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE), 4
"""Kinds of headers that say something of the next member, and how many may stand before one."""


class _Sips:
    """A stream that is read in small parts only: tarfile reads the whole of an extension header, whatever size it claims."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self.seek, self.tell, self.stream = stream.seek, stream.tell, stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= SIP:
            raise tarfile.ReadError("a header of impossible size")
        return self.stream.read(size)


class _Member(tarfile.TarInfo):
    """A header before which no more than `MOST_EXTENSIONS` stand."""

    def _proc_member(self, tar: Any) -> Any:  # where tarfile.py lets a subclass look at a header before it acts on it
        tar.extensions = getattr(tar, "extensions", 0) + 1 if self.type in EXTENSIONS else 0
        if tar.extensions > MOST_EXTENSIONS:
            raise tarfile.ReadError(f"more than {MOST_EXTENSIONS} extension headers before a member")
        return super()._proc_member(tar)  # type: ignore[misc]  # not in typeshed


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of `archive` (.tar.gz) into the empty `folder`, with this process's usual permissions.

    Raises:
        CheckFailed: its seal does not hold.
        BadInput: it is damaged, holds anything but plain files of safe names, or unpacks to too much; nothing outside `folder` was written.
        NotPossibleHere: no room for it.
    """
    limit = min(LARGEST_BUNDLE, max(SMALL, RATIO * check_file(archive, LARGEST_BUNDLE)))
    seen: set[str] = set()
    total = 0
    try:
        check_seal(archive)
        with open_file(archive) as file, gzip.GzipFile(fileobj=file) as packed:
            stream: Any = _Sips(packed)
            with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Member) as tar:
                for member in tar:
                    head, _, name = member.name.partition("/")
                    plain = member.isreg() and not member.issparse() and member.size >= 0
                    if (
                        not plain
                        or head != "bundle"
                        or not SAFE_NAME.fullmatch(name)
                        or name.casefold() in seen
                        or len(seen) >= MEMBERS
                    ):
                        raise BadInput(f"an archive member that no bundle has: {member.name!r}", where=str(archive))
                    seen.add(name.casefold())
                    total += member.size
                    _refuse_more(total, limit, archive)
                    source = tar.extractfile(member)
                    assert source is not None, "regular members have contents"
                    with (folder / name).open("wb") as copy:
                        shutil.copyfileobj(source, copy)
            while rest := packed.read(SIP):  # to the end, where gzip's own checksum stands
                total += len(rest)
                _refuse_more(total, limit, archive)
                if rest.strip(b"\0"):
                    raise BadInput("data after the end of the archive", where=str(archive))
    except OSError as fault:
        if fault.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NotPossibleHere(
                "no room to unpack it", where=str(archive), fix="free some, or set TMPDIR to a larger disk"
            ) from None
        raise BadInput(f"not a readable bundle archive: {fault}", where=str(archive)) from None
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as fault:
        raise BadInput(f"not a readable bundle archive: {fault}", where=str(archive)) from None


def _refuse_more(total: int, limit: int, archive: Path) -> None:
    if total > limit:
        raise BadInput(f"an archive that unpacks to more than {limit:,} bytes", where=str(archive))
