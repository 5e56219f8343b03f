"""Writing a bundle: the files, the manifest that names each by size and sha256, and its digest. The same inputs give the same bytes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgekit.pack.external import check_external
from edgekit.runtime.bundle.known import remember
from edgekit.runtime.bundle.manifest import Asset, Manifest
from edgekit.runtime.bundle.names import MANIFEST, MANIFEST_DIGEST
from edgekit.runtime.bundle.read import read_manifest
from edgekit.runtime.canonical import canonical
from edgekit.runtime.digest import digest_line
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["write_bundle", "write_manifest"]


def write_bundle(folder: Path, manifest: Manifest, *, files: Mapping[str, Path], texts: Mapping[str, str]) -> None:
    """Fill the empty `folder` with copies of `files`, the `texts`, and the manifest, whose assets are what was written, with its digest.

    Raises:
        BadInput: external weights that are not in the bundle, or a manifest that `parse_manifest` would not take.
    """
    for name, source in files.items():
        shutil.copyfile(source, folder / name)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    assets = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            assets[path.name] = Asset(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
    check_external(folder / manifest.variant.file, {name: asset.size for name, asset in assets.items()})
    if manifest.draft is not None:
        check_external(folder / manifest.draft.file, {name: asset.size for name, asset in assets.items()})
    write_manifest(folder, replace(manifest, assets=assets, digest_file=MANIFEST_DIGEST).to_json())
    remember(read_manifest(folder)[1], "proven")  # what is written must pass what reads it; who made it needs no proof of it


def write_manifest(folder: Path, document: JsonObject) -> None:
    """Write `document` as the manifest of `folder`, in canonical JSON, and its digest beside it."""
    data = canonical(document)
    (folder / MANIFEST).write_bytes(data)
    (folder / MANIFEST_DIGEST).write_bytes(digest_line(MANIFEST, data))
