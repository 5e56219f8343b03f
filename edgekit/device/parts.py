"""What is sent: the runner and a bundle's files by sha256, and of each only what the device does not hold already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.runtime.bundle.open import Bundle

__all__ = ["Part", "key_of", "offsets", "parts_of", "stream"]

CHUNK = 1 << 16


@dataclass(frozen=True)
class Part:
    """One file: where it lies here, its name on the device, its size in bytes and sha256."""

    path: Path
    name: str
    size: int
    sha256: str


def parts_of(bundle: Bundle, runner: Path) -> list[Part]:
    """The runner and every file of the bundle, small ones first: a broken link then costs only the model's rest."""
    files = {"runner.pyz": runner} | {f"bundle/{name}": bundle.folder / name for name in bundle.manifest.files}
    parts = [Part(path, name, path.stat().st_size, _sha256(path)) for name, path in files.items()]
    return sorted(parts, key=lambda part: (part.size, part.name))


def key_of(parts: list[Part]) -> str:
    """One sha256 over all names and contents: the name of the folder on the device, and what a result is a result of."""
    return hashlib.sha256(json.dumps(sorted((part.name, part.sha256) for part in parts)).encode()).hexdigest()


def offsets(parts: list[Part], have: dict[str, tuple[int, str]]) -> dict[str, int]:
    """Bytes of each file that the device holds already: those whose sha256 is that of as long a beginning of the file here.

    `have`: (size, sha256) of what is there, by name.
    """
    found = {}
    for part in parts:
        size, sha256 = have.get(part.name, (0, ""))
        found[part.name] = size if 0 < size <= part.size and sha256 == _sha256(part.path, size) else 0
    return found


def stream(parts: list[Part], begin: dict[str, int]) -> Iterator[bytes]:
    """The bytes to send: each file from its offset in `begin` on, one after the other.

    Exactly the announced sizes, whatever happens to a file meanwhile: the device finds out by its sha256.
    """
    for part in parts:
        left = part.size - begin[part.name]
        with part.path.open("rb") as file:
            file.seek(begin[part.name])
            while left:
                data = file.read(min(CHUNK, left)) or bytes(min(CHUNK, left))
                left -= len(data)
                yield data


def _sha256(path: Path, length: int | None = None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if length is None:
            return hashlib.file_digest(file, "sha256").hexdigest()
        while length > 0 and (data := file.read(min(CHUNK, length))):
            digest.update(data)
            length -= len(data)
    return digest.hexdigest()
