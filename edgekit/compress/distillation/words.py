"""The pieces of a text that are dropped, exchanged or masked: words, and in scripts that write none apart their characters.

Chinese, Japanese, Thai, Lao, Khmer, Burmese and Tibetan put no spaces between words. Their characters are taken with the vowels and marks
that belong to them (nearly the extended grapheme clusters of Unicode Standard Annex 29), so that a piece is never half a letter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Piece", "characters", "joined", "pieces"]

RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x109F),  # Tibetan, Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029),  # parts of Han characters, marks of repetition, numerals
    (0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F),  # Hiragana, Katakana
    (0x3100, 0x312F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),  # Bopomofo, Han
)  # fmt: skip
UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in RANGES)
PART = re.compile(rf"[{UNSPACED}]|[^{UNSPACED}]+")
BEFORE = set("เแโใไເແໂໃໄ")
"""Vowels of Thai and Lao that are written before the consonant that they follow."""


@dataclass(frozen=True)
class Piece:
    """A word, or a character of a script without spaces."""

    text: str
    apart: bool
    """Whether white space stands before it, or it begins its text and is a word."""


def pieces(text: str) -> list[Piece]:
    """The pieces of `text`, in order."""
    found: list[Piece] = []
    for word in text.split():
        for number, (start, end) in enumerate(characters(word)):
            piece = word[start:end]
            found.append(Piece(piece, number == 0 and (bool(found) or not _unspaced(piece))))
    return found


def joined(found: Sequence[Piece]) -> str:
    """The text of `found`: one space before each piece that stands apart."""
    return "".join(" " * piece.apart + piece.text for piece in found).strip()


def characters(word: str) -> list[tuple[int, int]]:
    """Spans of the characters of `word` that scripts without spaces write, and of what stands between them."""
    spans: list[tuple[int, int]] = []
    held = False  # a vowel that waits for its consonant
    for match in PART.finditer(word):
        start, end = match.span()
        if spans and (held or unicodedata.category(match[0][0]).startswith("M") or match[0] in "ำะาຳະາー"):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
        held = match[0] in BEFORE
    return spans


def _unspaced(piece: str) -> bool:
    return re.match(f"[{UNSPACED}]", piece) is not None
