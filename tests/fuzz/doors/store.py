"""The record of a finished stage in the build folder."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from edgekit.runtime.temporary import temporary_folder
from edgekit.store import Context, Stage, find, produce
from tests.fuzz.door import Door, Files

__all__ = ["DOOR"]


def made(context: Context) -> dict[str, object]:
    (context.out / "model.bin").write_bytes(b"weights")
    return {"accuracy": 0.5, "rows": 3}


STAGE = Stage("fuzzed", 1, made, settings={"a": 1})


@cache
def seeds() -> list[Files]:
    with temporary_folder("a store") as root:
        folder = produce(root, STAGE, {}, lambda done, total, text: None).path
        return [{path.name: path.read_bytes() for path in folder.iterdir()}]


def enter(folder: Path) -> None:
    """What it says is taken, or the result is made again; a record is never believed that speaks of other files."""
    with temporary_folder("a store") as root:
        place = root / "store" / STAGE.name / STAGE.key[:32]
        place.parent.mkdir(parents=True)
        folder.rename(place)
        try:
            found, corrupt = find(root, STAGE)
        finally:
            place.rename(folder)
        assert found is None or corrupt is None
        if found is not None:
            assert (folder / "model.bin").read_bytes() == b"weights"
            json.dumps(found.metrics)


DOOR = Door("store", enter, seeds)
