"""A bundle's tokenizer.json, which texts are given to where it loads."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from edgekit.runtime.tokenise import load_tokeniser
from tests.fuzz.bundles import ASKED, released
from tests.fuzz.door import Door, Files

__all__ = ["DOOR"]

NAME = "tokenizer.json"
TEXTS = (*ASKED.values(), "naïve 日本語 \U0001f600 e\u0301 \u202e\0 \ttabs", "a" * 300)


@cache
def seeds() -> list[Files]:
    return [{NAME: files[NAME]} for files in released()[0]]


def enter(folder: Path) -> None:
    tokenise = load_tokeniser(folder / NAME, 32, segments=True)
    for text in TEXTS:
        window = tokenise.text(text)
        assert window.ids.shape == window.words.shape and len(window.ids) <= 32


DOOR = Door("tokenizer", enter, seeds)
