"""Whether a measurement is of a bundle: a time belongs to the very files that were timed."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.runtime.bundle.names import MODEL, MODEL_DATA, PREPROCESSOR, TOKENIZER
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["TIMED", "is_of_bundle", "timed_files"]

TIMED = (MODEL, MODEL_DATA, TOKENIZER, PREPROCESSOR)
"""Files of a bundle that its times depend on."""


def timed_files(sha256: Mapping[str, str]) -> dict[str, str]:
    """Of a bundle's files, sha256 by name, those that its times depend on: what bench.json names as "files_sha256"."""
    return {name: sha256[name] for name in TIMED if name in sha256}


def is_of_bundle(document: JsonObject, sha256: Mapping[str, str]) -> bool:
    """Whether bench.json (`document`) was measured on the files of a bundle, sha256 by name.

    A document from before "files_sha256" was written names the graph alone, which is then all that is compared.
    """
    if document.get("artifact_sha256") != sha256[MODEL]:
        return False
    named = document.get("files_sha256")
    return named is None or named == timed_files(sha256)
