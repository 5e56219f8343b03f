"""Verifying a bundle that somebody signed: who, before what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.pack.sign import check_signature
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.bundle.verify import signature_of, verify

__all__ = ["verify_signed"]


def verify_signed(path: Path, key: Path, signature: Path | None = None) -> dict[str, Any]:
    """Check that the public `key` signed the bundle at `path`, then `verify` it; nothing of it runs before.

    `signature` is by default bundle.sig beside the bundle's folder or archive, or in the folder above it.

    Raises:
        CheckFailed: not signed by this key as it is, or not right.
        BadInput, NotPossibleHere: as `check_signature` and `verify`.
    """
    bundle = open_bundle(path)
    check_signature(bundle.folder, signature or signature_of(path, bundle.folder), key)
    return verify(bundle.folder) | {"signed": True}
