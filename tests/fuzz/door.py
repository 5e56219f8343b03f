"""What is fuzzed: a door is one file in `tests/fuzz/doors/` that holds `DOOR`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from tests.fuzz.edits import edit_files

__all__ = ["Door", "Files", "doors", "write_files"]

Files = Mapping[str, bytes]
"""An input: name of a file -> its contents."""


@dataclass(frozen=True)
class Door:
    """Where files from outside come in."""

    name: str
    enter: Callable[[Path], object]
    """Does with the files of a folder what edgekit does with them: it returns, or raises one of edgekit's own errors. What else must hold
    where it returns is asserted."""
    seeds: Callable[[], Sequence[Files]]
    """Sound inputs, which are mutated."""
    edit: Callable[[Files, Sequence[Files], Random], Files] = edit_files
    """(one of the seeds, all of them, chance) -> a mutation of it."""
    whole: bool = False
    """Whether its inputs are whole bundles, which are loaded and answer."""
    memory: int = 1 << 30
    """Bytes of address space that a child may take beyond what it begins with."""


@cache
def doors() -> dict[str, Door]:
    """Every door, by name."""
    import tests.fuzz.doors as package

    modules = [importlib.import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]
    every = [door for module in modules for door in ([module.DOOR] if hasattr(module, "DOOR") else module.DOORS)]
    return {door.name: door for door in every}


def write_files(folder: Path, files: Files) -> None:
    """Make `folder` hold exactly `files`."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
