"""Opening a bundle: every file hashed before any of it is used, nothing missing, nothing extra, no links."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgekit.runtime.bundle.manifest import Manifest, parse_manifest
from edgekit.runtime.bundle.names import MANIFEST
from edgekit.runtime.bundle.unpack import unpack
from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.forks import at_exit_here
from edgekit.runtime.temporary import new_folder

__all__ = ["Bundle", "open_bundle"]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are what its manifest says. `keep` holds an unpacked archive's temporary folder alive."""

    folder: Path
    manifest: Manifest
    keep: Any = None


def open_bundle(path: str | Path) -> Bundle:
    """The bundle at `path`: its folder, the result folder above it, or a `.tar.gz` archive (unpacked to a temporary folder).

    Raises:
        BadInput: no bundle there, or a manifest or archive that cannot be trusted.
        CheckFailed: a file differs from its sha256, is missing, or was added.
    """
    path = Path(path)
    keep = None
    if path.is_file():
        keep = _Unpacked(path)
        path = keep.folder
    folder = path if (path / MANIFEST).exists() else path / "bundle"
    if not (folder / MANIFEST).exists():
        raise BadInput(
            "no bundle here (no manifest.json)",
            where=str(path),
            fix="name a bundle folder, the folder above it, or its archive",
        )
    manifest = parse_manifest(folder)
    _check_files(folder, manifest)
    return Bundle(folder, manifest, keep)


def _check_files(folder: Path, manifest: Manifest) -> None:
    faults = []
    there = {entry.name for entry in folder.iterdir()} - {MANIFEST}
    faults += [f"{name}: missing" for name in sorted(set(manifest.assets) - there)]
    faults += [f"{name}: not in the manifest" for name in sorted(there - set(manifest.assets))]
    for name, asset in manifest.assets.items():
        path = folder / name
        if name not in there:
            continue
        if path.is_symlink() or not path.is_file() or path.stat().st_nlink > 1:
            faults.append(f"{name}: not a plain file of its own")
            continue
        size = path.stat().st_size
        if size != asset.size:
            faults.append(f"{name}: {size} bytes instead of {asset.size}")
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != asset.sha256:
            faults.append(f"{name}: sha256 {digest[:16]}… instead of {asset.sha256[:16]}…")
    if faults:
        raise CheckFailed(
            "files are not what the manifest says", where=str(folder), faults=faults, fix="fetch the bundle again"
        )


class _Unpacked:
    """A bundle archive unpacked into a temporary folder, which goes when this object does."""

    def __init__(self, archive: Path) -> None:
        root = new_folder(archive)
        at_exit_here(self, partial(shutil.rmtree, ignore_errors=True), root)
        self.folder = root / "bundle"
        self.folder.mkdir()
        unpack(archive, self.folder)
