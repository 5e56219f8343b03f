"""A bundle's tokenizer.json, checked as `load` checks it, loaded, and given texts."""

from __future__ import annotations

from pathlib import Path

from edgekit.runtime.bundle.manifest import Manifest
from edgekit.runtime.bundle.tokenizer_file import check_tokenizer_file
from edgekit.runtime.tokenise import load_tokeniser
from tests.fuzz.bundles import ASKED
from tests.fuzz.doors.golden import door

__all__ = ["DOOR"]

NAME = "tokenizer.json"
TEXTS = (*ASKED.values(), "naïve 日本語 \U0001f600 e\u0301 \u202e\0 \ttabs", "a" * 300)


def enter(folder: Path, manifest: Manifest) -> None:
    check_tokenizer_file(folder / NAME, manifest)
    tokenise = load_tokeniser(folder / NAME, 32, segments=True)
    for text in TEXTS:
        plain, placed = tokenise.text(text), tokenise.text(text, placed=True)
        assert placed.ids.shape == placed.words.shape and len(placed.ids) <= 32
        assert plain.ids.tolist() == placed.ids.tolist(), "the tokens without places are others"


DOOR = door("tokenizer", NAME, enter)
