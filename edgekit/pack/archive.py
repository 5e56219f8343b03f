"""A bundle as one file, the same bytes wherever and whenever it is made."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
from pathlib import Path

from edgekit.runtime.bundle.seal import sealed_header

__all__ = ["write_archive"]

PLAIN_HEADER = 10
"""Bytes of gzip's header without a name."""


def write_archive(folder: Path, out: Path) -> None:
    """Write the files of `folder` to the gzipped tar `out` under `bundle/`: sorted, no times, no owners, mode 0644, and sealed."""
    temporary, unsealed = (out.with_name(f".{out.name}.{os.getpid()}.{kind}") for kind in ("tmp", "unsealed"))
    try:
        with (
            unsealed.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for path in sorted(folder.iterdir()):
                entry = tarfile.TarInfo(f"bundle/{path.name}")
                entry.size = path.stat().st_size
                entry.mode = 0o644
                with path.open("rb") as file:
                    tar.addfile(entry, file)
        with unsealed.open("rb") as made, temporary.open("wb") as file:
            made.seek(PLAIN_HEADER)
            file.write(sealed_header(made))
            made.seek(PLAIN_HEADER)
            shutil.copyfileobj(made, file)
        os.replace(temporary, out)
    finally:
        unsealed.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)
