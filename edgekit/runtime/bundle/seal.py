"""The seal of a bundle archive: the sha256 of all that follows gzip's header, as the comment in that header.

gzip's checksum is of the contents alone. Times and names in its header, and the bits that fill up a byte within the compressed data,
could change with nobody noticing; under the seal no bit can. Whatever else reads archives skips the comment (RFC 1952).
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.files import open_file

__all__ = ["HEADER_BYTES", "check_seal", "sealed_header"]

HAS_COMMENT = 0x10
START = b"\x1f\x8b\x08\x10\0\0\0\0\0\xff"
"""gzip, deflate, a comment and nothing else, no time, no system."""


HEADER_BYTES = len(START) + len("sha256:") + 64 + 1


def sealed_header(rest: io.BufferedReader) -> bytes:
    """The header before `rest`, read from where it stands to its end: compressed data with gzip's checksum and length."""
    return START + b"sha256:" + hashlib.file_digest(rest, "sha256").hexdigest().encode() + b"\0"


def check_seal(archive: Path) -> None:
    """Check the seal of `archive`, where it has one: those of releases before 0.2 have none.

    Raises:
        CheckFailed: what follows is not what the seal is of, or the seal is not written as it must be.
    """
    with open_file(archive) as file:
        header = file.read(HEADER_BYTES)
        if header[:2] == START[:2] and len(header) > 3 and header[3] & HAS_COMMENT and header != sealed_header(file):
            raise CheckFailed(
                "is not the archive that was made: its seal does not hold", where=str(archive), fix="fetch it again"
            )
