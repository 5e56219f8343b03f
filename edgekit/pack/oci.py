"""An OCI image layout: the artifacts as a registry knows them, one layer a file, for any registry client to push.

OCI image specification 1.1: an artifact is a manifest with an artifactType and the empty config; `oras pull` restores each layer
under the name in its title annotation.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

__all__ = ["ARTIFACT", "write_layout"]

ARTIFACT = "application/vnd.edgekit.bundle.v1"
LAYER = "application/vnd.edgekit.bundle.file.v1"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"


def write_layout(source: Path, names: list[str], out: Path, *, name: str, annotations: dict[str, str]) -> str:
    """Write the files `names` of `source` as the image layout `out`, tagged `name`; the same files give the same bytes.

    Returns the digest of the manifest, which is what a registry will call the artifact.
    """
    blobs = out / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers = []
    for file in sorted(names):
        with (source / file).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        shutil.copyfile(source / file, blobs / digest)
        title = {"org.opencontainers.image.title": file}
        layers.append(_descriptor(LAYER, digest, (source / file).stat().st_size) | {"annotations": title})
    config = _put(blobs, EMPTY, b"{}") | {"data": "e30="}
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": ARTIFACT, "config": config, "layers": layers,
        "annotations": {"org.opencontainers.image.title": name, **annotations},
    }  # fmt: skip
    top = _put(blobs, MANIFEST, _bytes(manifest))
    tag = re.sub(r"[^A-Za-z0-9_.-]", "-", name).lstrip(".-")[:128] or "bundle"
    entry = top | {"artifactType": ARTIFACT, "annotations": {"org.opencontainers.image.ref.name": tag}}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    (out / "index.json").write_bytes(_bytes(index))
    (out / "oci-layout").write_bytes(_bytes({"imageLayoutVersion": "1.0.0"}))
    return str(top["digest"])


def _put(blobs: Path, kind: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return _descriptor(kind, digest, len(data))


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def _bytes(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
