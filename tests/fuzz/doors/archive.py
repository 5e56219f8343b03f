"""A bundle archive, as it is unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random

from edgekit.runtime.bundle.seal import sealed_header
from edgekit.runtime.bundle.unpack import unpack
from edgekit.runtime.temporary import temporary_folder
from tests.fuzz.bundles import archived, plain_archive
from tests.fuzz.door import Door, Files
from tests.fuzz.edits import edit_file

__all__ = ["DOOR"]

NAME = "bundle.tar.gz"
PLAIN_HEADER = 10


@cache
def seeds() -> list[Files]:
    files = {"manifest.json": b"{}", "model.onnx": bytes(range(256)) * 3, "tokenizer.json": b'{"a": 1}'}
    return [{NAME: archived(files)}, {NAME: plain_archive(files)}]


def edit(files: Files, others: Sequence[Files], random: Random) -> Files:
    """Half of them with a seal that holds."""
    data = edit_file(NAME, files[NAME], [other[NAME] for other in others], random)
    if random.random() < 0.5 and len(data) > PLAIN_HEADER:
        source = BytesIO(data)
        source.seek(PLAIN_HEADER)
        data = sealed_header(source) + data[PLAIN_HEADER:]
    return {NAME: data}


def enter(folder: Path) -> None:
    """Plain files directly in the folder, or nothing at all."""
    with temporary_folder("a bundle") as room:
        (room / "bundle").mkdir()
        unpack(folder / NAME, room / "bundle")
        assert [path.name for path in room.iterdir()] == ["bundle"]
        assert all(
            path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1 for path in (room / "bundle").iterdir()
        )


DOOR = Door("archive", enter, seeds, edit)
