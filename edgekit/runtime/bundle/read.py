"""Reading a manifest: as a file from outside, under the digest beside it, before anything else of the bundle is looked at."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgekit.runtime.bundle.manifest import Manifest
from edgekit.runtime.bundle.names import MANIFEST, MANIFEST_DIGEST
from edgekit.runtime.canonical import canonical
from edgekit.runtime.digest import check_beside
from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.files import read_file
from edgekit.runtime.strict_json import strict_json

__all__ = ["parse_manifest", "read_manifest"]

LARGEST = 4_000_000
"""Bytes of a manifest at most."""


def parse_manifest(folder: Path) -> Manifest:
    """The manifest of `folder`, as `read_manifest` reads it."""
    return read_manifest(folder)[0]


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest of the bundle `folder`, and its digest: sha256 of every field as canonical JSON (RFC 8785), hexadecimal.

    The file is that very JSON, so that `sha256sum manifest.json` prints the digest, and the file beside it holds it. Manifests of
    releases before 0.2 are written otherwise, with no digest beside them.

    Raises:
        CheckFailed: the manifest is not the one that its digest is of, or the digest that it names is missing.
        BadInput: as `read_file` and `strict_json`, or as `Manifest.from_json`.
    """
    path = folder / MANIFEST
    if path.is_symlink():
        raise BadInput("is a link", where=str(path))
    data = read_file(path, LARGEST, fix="name a bundle folder")
    has_digest = (folder / MANIFEST_DIGEST).exists()
    if has_digest:
        check_beside(path, data)
    document = strict_json(data, str(path), most=LARGEST)
    text = canonical(document)
    try:
        manifest = Manifest.from_json(document)
    except BadInput as fault:
        raise BadInput(fault.what, where=str(path), faults=fault.faults) from None
    if manifest.digest_file is not None and not has_digest:
        raise CheckFailed("its digest is missing", where=str(folder / manifest.digest_file), fix="fetch the bundle again")
    if manifest.digest_file is not None and text != data:
        raise BadInput("not written as its digest is taken, in canonical JSON (RFC 8785)", where=str(path))
    return manifest, hashlib.sha256(text).hexdigest()
