"""A bundle's golden inputs, graph and tokenizer, as they are checked before any library reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random

from edgekit.runtime.bundle.golden import parse_golden
from edgekit.runtime.bundle.graph import check_graph_file
from edgekit.runtime.bundle.manifest import Manifest
from edgekit.runtime.bundle.names import MANIFEST, MANIFEST_DIGEST
from edgekit.runtime.bundle.read import parse_manifest
from edgekit.runtime.bundle.tokenizer_file import check_tokenizer_file
from tests.fuzz.bundles import released
from tests.fuzz.door import Door, Files
from tests.fuzz.edits import edit_file

__all__ = ["DOORS"]


def door(name: str, file: str, check: Callable[[Path, Manifest], object]) -> Door:
    """Of one file beside its manifest, which stays as it is."""

    @cache
    def seeds() -> list[Files]:
        return [{each: files[each] for each in (MANIFEST, MANIFEST_DIGEST, file)} for files in released()[1]]

    def edit(files: Files, others: Sequence[Files], random: Random) -> Files:
        return {**files, file: edit_file(file, files[file], [other[file] for other in others], random)}

    return Door(name, lambda folder: check(folder, parse_manifest(folder)), seeds, edit)


DOORS = (
    door("golden", "golden.json", parse_golden),
    door("graph", "model.onnx", lambda folder, manifest: check_graph_file(folder / "model.onnx", manifest)),
    door(
        "tokenizer-file", "tokenizer.json", lambda folder, manifest: check_tokenizer_file(folder / "tokenizer.json", manifest)
    ),
)
