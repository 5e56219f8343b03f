"""Writing a bundle: the files, then the manifest that names each by size and sha256. The same inputs give the same bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from edgekit.pack.external import check_external
from edgekit.runtime.bundle.manifest import NAME, parse_manifest

__all__ = ["write_bundle"]


def write_bundle(
    folder: Path, *, name: str, files: dict[str, Path], texts: dict[str, str], variant: dict[str, Any], block: dict[str, Any]
) -> None:
    """Fill the empty `folder` with copies of `files`, the `texts`, and the manifest last.

    `variant` is the one entry of components.model.variants under the target's name; `block` is the manifest's edgekit part.

    Raises:
        BadInput: external weights that are not in the bundle, or a manifest that `parse_manifest` would not take.
    """
    for target, source in files.items():
        shutil.copyfile(source, folder / target)
    for target, text in texts.items():
        (folder / target).write_text(text, encoding="utf-8")
    assets: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            assets[path.name] = {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    check_external(folder / variant["file"], {file: asset["size"] for file, asset in assets.items()})
    manifest = {
        "schema_version": 1,
        "name": name,
        "components": {"model": {"variants": {block["target"]["name"]: variant}}},
        "assets": assets,
        "edgekit": block,
    }
    (folder / NAME).write_text(json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    parse_manifest(folder)  # what is written must pass what reads it
