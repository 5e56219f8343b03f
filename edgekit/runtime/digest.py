"""The sha256 of a file in a file beside it, NAME.sha256, as `sha256sum` writes and checks it: a change of either is noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.files import read_file

__all__ = ["check_beside", "digest_line", "name_beside"]


def name_beside(name: str) -> str:
    """The name of the file that holds the sha256 of the file `name`."""
    return f"{name}.sha256"


def digest_line(name: str, data: bytes) -> bytes:
    """What that file holds: the sha256 of `data`, hexadecimal, and `name`."""
    return f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()


def check_beside(path: Path, data: bytes) -> None:
    """Check that `data`, which was read from `path`, is what the file beside it says.

    Raises:
        CheckFailed: the file beside it is not there, is no plain file, or is of other contents.
    """
    beside = path.with_name(name_beside(path.name))
    wanted = digest_line(path.name, data)
    try:
        found = read_file(beside, len(wanted))
    except BadInput as fault:
        raise CheckFailed(f"no readable digest beside {path.name}: {fault.what}", where=str(beside)) from None
    if found != wanted:
        raise CheckFailed(f"is not the file that {beside.name} is of: its sha256 is {wanted[:16].decode()}…", where=str(path))
