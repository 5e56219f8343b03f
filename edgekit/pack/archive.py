"""A bundle as one file, the same bytes wherever and whenever it is made."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path

__all__ = ["write_archive"]


def write_archive(folder: Path, out: Path) -> None:
    """Write the files of `folder` to the gzipped tar `out` under `bundle/`: sorted, no times, no owners, mode 0644."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with (
            temporary.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for path in sorted(folder.iterdir()):
                entry = tarfile.TarInfo(f"bundle/{path.name}")
                entry.size = path.stat().st_size
                entry.mode = 0o644
                with path.open("rb") as file:
                    tar.addfile(entry, file)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
