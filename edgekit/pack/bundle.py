"""Writing a bundle: the files, then the manifest that names each by size and sha256. The same inputs give the same bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgekit.pack.external import check_external
from edgekit.runtime.bundle.manifest import Asset, Manifest, parse_manifest
from edgekit.runtime.bundle.names import MANIFEST

__all__ = ["write_bundle"]


def write_bundle(folder: Path, manifest: Manifest, *, files: Mapping[str, Path], texts: Mapping[str, str]) -> None:
    """Fill the empty `folder` with copies of `files`, the `texts`, and the manifest last, whose assets are what was written.

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
    document = replace(manifest, assets=assets).to_json()
    (folder / MANIFEST).write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    parse_manifest(folder)  # what is written must pass what reads it
