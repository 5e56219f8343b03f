"""Real bundles as seeds: those of a release (tests/releases), as they were packed and written as the newest edgekit writes them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from edgekit.pack.archive import write_archive
from edgekit.runtime.bundle.names import MANIFEST, MANIFEST_DIGEST
from edgekit.runtime.canonical import canonical
from edgekit.runtime.chip import machine
from edgekit.runtime.digest import digest_line
from edgekit.runtime.temporary import temporary_folder
from tests.fuzz.door import write_files

__all__ = ["ASKED", "archived", "rehashed", "released"]

ASKED = {
    "text-classification": "turn on the red light in the hall",
    "token-classification": "turn on the red lamp in the hall",
    "text-generation": "The im",
}
"""Task -> what its bundle is asked."""
RELEASES = Path(__file__).resolve().parents[1] / "releases"


@cache
def released() -> tuple[tuple[dict[str, bytes], ...], tuple[dict[str, bytes], ...]]:
    """(bundles as a release packed them, the same with the digest that bundles have now)."""
    before = []
    for path in sorted(RELEASES.glob("*/*.tar.gz")):
        with tarfile.open(path) as tar:
            files = {member.name.partition("/")[2]: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        document = json.loads(files[MANIFEST])
        document["edgekit"]["target"] |= {"arch": machine(), "isa": [], "isa_any": []}  # so that any machine loads them
        files[MANIFEST] = json.dumps(document).encode()
        before.append(files)
    now = []
    for files in before:
        document = json.loads(files[MANIFEST])
        document["edgekit"]["digest_file"] = MANIFEST_DIGEST
        now.append(rehashed({**files, MANIFEST: json.dumps(document).encode(), MANIFEST_DIGEST: b""}))
    return tuple(before), tuple(now)


def rehashed(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files with a manifest that names them as they are, in canonical JSON with its digest where it has one: what was changed reaches
    what lies behind hashes. A manifest that is no JSON any more gets the digest alone."""
    found = dict(files)
    try:
        document: Any = json.loads(files[MANIFEST])
        assets = document["assets"]
        for name in assets:
            if name in found and isinstance(assets[name], dict):
                assets[name] |= {"size": len(found[name]), "sha256": hashlib.sha256(found[name]).hexdigest()}
        found[MANIFEST] = canonical(document)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    if MANIFEST_DIGEST in found:
        found[MANIFEST_DIGEST] = digest_line(MANIFEST, found[MANIFEST])
    return found


def archived(files: Mapping[str, bytes]) -> bytes:
    """The files as a bundle archive."""
    with temporary_folder("an archive") as folder:
        write_files(folder / "bundle", files)
        write_archive(folder / "bundle", folder / "bundle.tar.gz")
        return (folder / "bundle.tar.gz").read_bytes()


def plain_archive(files: Mapping[str, bytes]) -> bytes:
    """The files as an archive of a release before 0.2, without a seal."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(f"bundle/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def chosen(random: Random, before: float = 0.2) -> bool:
    """Whether a bundle of a release is taken as it was."""
    return random.random() < before
