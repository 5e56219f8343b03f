"""The result folder of one target: what lies in it, and how the packed files get there."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from edgekit.pipeline.pack_stage import PACKED
from edgekit.store import remove

__all__ = ["ARCHIVE", "BENCH", "LINEAGE", "REPORT", "RUNNER", "lay_out"]

ARCHIVE, RUNNER = "bundle.tar.gz", "runner.pyz"
LINEAGE, BENCH, REPORT = "lineage.json", "bench.json", "report.html"


def lay_out(packed: Path, folder: Path) -> bool:
    """Bring the packed files into the result folder; returns whether anything changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = False
    for name in (PACKED, ARCHIVE, RUNNER):
        source, target = packed / name, folder / name
        if _digest(source) == _digest(target):
            continue
        changed = True
        fresh = folder / f".{name}.new"
        remove(fresh)
        shutil.copytree(source, fresh) if source.is_dir() else shutil.copy(source, fresh)
        remove(target)
        fresh.rename(target)
    return changed


def _digest(path: Path) -> str | None:
    if path.is_dir():
        return json.dumps({entry.name: _digest(entry) for entry in sorted(path.iterdir())})
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
