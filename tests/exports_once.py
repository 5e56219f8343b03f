"""Exports of one checkpoint that many tests ask for: made once in a run, by whichever process comes first.

The same checkpoint gives the same bytes (`tests/exporter/test_export.py`, whose own exports are made anew each time, as is what a test starts as a
process), and torch's exporter takes two seconds of a model of three layers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.store import RECORD, TIMING

__all__ = ["made_once"]

METRICS = "metrics.json"
NOT_READ = {RECORD, TIMING}
"""What the store notes of the run that made a checkpoint."""


def made_once(export: Callable[..., Any], kept: Path) -> Callable[..., Any]:
    """`export` of `edgekit.exporter.encoder`, whose files are kept in the folder `kept` by what the checkpoint holds and what is asked."""

    def asked(checkpoint: Path, out: Path, **settings: Any) -> Any:
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for path in sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name not in NOT_READ):
            digest.update(f"\n{path.relative_to(checkpoint)} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
        folder = kept / digest.hexdigest()
        if not folder.is_dir():
            made = Path(tempfile.mkdtemp(dir=kept))
            (made / METRICS).write_text(json.dumps(export(checkpoint, made, **settings)))
            try:
                made.rename(folder)
            except OSError:  # another process made it meanwhile
                shutil.rmtree(made)
        for path in folder.iterdir():
            if path.name != METRICS:
                shutil.copy(path, out)
        return json.loads((folder / METRICS).read_text())

    return asked
