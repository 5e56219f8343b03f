"""A bundle's manifest and the digest beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random

from edgekit.runtime.bundle.names import MANIFEST, MANIFEST_DIGEST
from edgekit.runtime.bundle.read import read_manifest
from tests.fuzz.bundles import rehashed, released
from tests.fuzz.door import Door, Files
from tests.fuzz.edits import edit_file

__all__ = ["DOOR"]


@cache
def seeds() -> list[Files]:
    before, now = released()
    return [{name: files[name] for name in (MANIFEST, MANIFEST_DIGEST) if name in files} for files in (*before, *now)]


def edit(files: Files, others: Sequence[Files], random: Random) -> Files:
    """Mostly with the right digest, so that what is behind it is reached."""
    if random.random() < 0.05:
        return {name: edit_file(name, data, (), random) for name, data in files.items()}
    changed = edit_file(MANIFEST, files[MANIFEST], [other[MANIFEST] for other in others], random)
    return rehashed({**files, MANIFEST: changed}) if random.random() < 0.95 else {**files, MANIFEST: changed}


DOOR = Door("manifest", read_manifest, seeds, edit)
