"""Whole bundles: loaded, asked and verified; as folders and as archives, with the hashes of what was changed and without."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

from edgekit.errors import EdgekitError
from edgekit.runtime.bundle.names import MANIFEST, MANIFEST_DIGEST
from edgekit.runtime.bundle.proof import PROOF
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.model import load
from tests.fuzz.bundles import ASKED, archived, rehashed, released
from tests.fuzz.door import Door, Files
from tests.fuzz.edits import edit_file

__all__ = ["DOORS"]

ARCHIVE = "bundle.tar.gz"
FILES = (
    MANIFEST,
    "model.onnx",
    "model.onnx",
    "tokenizer.json",
    "tokenizer.json",
    "golden.json",
    "config.json",
    "chat_template.jinja",
    "model.onnx.data",
)
"""What is changed, as often as it stands here."""


def folders() -> list[Files]:
    before, now = released()
    return [*now, *before]


@cache
def archives() -> list[Files]:
    return [{ARCHIVE: archived(files)} for files in folders()]


def edit(files: Files, others: Sequence[Files], random: Random) -> Files:
    """One file of a folder, rarely two, and then the hashes."""
    found = dict(files)
    for _ in range(random.choice((1, 1, 1, 1, 2))):
        name = random.choice([name for name in FILES if name in files])
        found[name] = edit_file(name, found[name], [other[name] for other in others if name in other], random)
    return rehashed(found)


def edit_unhashed(files: Files, others: Sequence[Files], random: Random) -> Files:
    """Any file of a folder, and nothing else."""
    name = random.choice(sorted(files))
    return {**files, name: edit_file(name, files[name], [other[name] for other in others if name in other], random)}


def enter(folder: Path) -> None:
    """It answers."""
    path = folder / ARCHIVE if (folder / ARCHIVE).is_file() else folder
    model = load(path)
    task = model.bundle.manifest.task
    answer = model(ASKED.get(task, "turn on the light"))
    assert isinstance(answer, dict) and answer
    verify(path)


def enter_first(folder: Path) -> None:
    """As on a machine that has never seen it: a child process of its own loads it first."""
    os.environ.pop(PROOF, None)
    enter(folder)


def enter_unhashed(folder: Path) -> None:
    """Nothing that was changed is loaded, where a digest covers everything."""
    sound = {path.name: path.read_bytes() for path in folder.iterdir()} in folders()
    covered = (folder / MANIFEST_DIGEST).is_file()
    try:
        load(folder)
    except EdgekitError:
        assert not sound, "a sound bundle is refused"
        raise
    assert sound or not covered, "a changed bundle is loaded"


DOORS = (
    Door("bundle", enter, folders, edit, whole=True),
    Door("bundle-first-load", enter_first, folders, edit, whole=True),
    Door("bundle-unhashed", enter_unhashed, folders, edit_unhashed, whole=True),
    Door("bundle-archive", enter, archives, whole=True),
)
