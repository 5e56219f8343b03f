"""Seeded texts on which two runtimes are likely to part: scripts, emoji, zero-width characters, marks, odd spaces, and long ones."""

from __future__ import annotations

import random
import sys
import unicodedata

from edgekit.agreement.texts import made_texts

__all__ = ["COUNT", "SEED", "comparison_texts"]

COUNT = 2000
SEED = 25
RANGES: tuple[tuple[int, int], ...] = (
    (0x21, 0x7E), (0xA1, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58A), (0x591, 0x5F4), (0x600, 0x6FF), (0x900, 0x97F),
    (0xE01, 0xE5B), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE), (0x2000, 0x206F), (0x20A0, 0x20C0), (0x2100, 0x218F),
    (0x2190, 0x27BF), (0x2C60, 0x2C7F), (0x3000, 0x30FF), (0x3400, 0x3420), (0x4E00, 0x9FFF), (0xA640, 0xA69F), (0xAC00, 0xD7A3), (0xF900, 0xFAFF),
    (0xFB00, 0xFB4F), (0xFE00, 0xFE6F), (0xFF01, 0xFFEF), (0x10400, 0x1044F), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x20100),
    (0x2B740, 0x2B81D), (0x2F800, 0x2FA1D),
)  # fmt: skip
SPACES = " \t\n\r\u00a0\u1680\u2003\u2028\u202f\u3000\x0b\x0c\x85\x1c\x1f"
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u202e\ufe0f\U000e0061\x00\x07\ufffd\ue000"
PARTS = (
    "Σίσυφος", "ΟΔΟΣ", "İstanbul", "ß", "ﬁn", "👩‍👩‍👧", "🙏🏽", "🇩🇪", "e\u0301\u0323", "ạ\u0301", "क्षि",
    "[MASK]", "<s>", "it's", "don't", "I'LL", "3.14",
    "1,000", "½", "٣٤", "x" * 101, "a_b", "http://x.org/?q=%20", "\u0130\u0131", "ᾳ", "ǅ", "각각", "ᄀ\u1161\u11a8", "\u0f71\u0f72",
)  # fmt: skip


def comparison_texts(words: list[str], *, longest: int, count: int = COUNT, seed: int = SEED) -> list[str]:
    """`count` texts: the made ones, then mixtures of `words` and of all else; every fiftieth has more tokens than `longest`."""
    draw = random.Random(seed)
    found = made_texts(longest)
    while len(found) < count:
        size = longest + draw.randrange(40) if len(found) % 50 == 0 else draw.randrange(1, 16)
        text = "".join(_part(draw, words) + _between(draw) for _ in range(size))
        if text.strip():
            found.append(text)
    return found[:count]


def _part(draw: random.Random, words: list[str]) -> str:
    kind = draw.random()
    if kind < 0.55:
        word = draw.choice(words)
        return draw.choice((word, word, word.upper(), word.capitalize()))
    if kind < 0.7:
        return draw.choice(PARTS)
    low, high = draw.choice(RANGES)
    return "".join(_character(draw, low, high) for _ in range(draw.randrange(1, 6)))


def _character(draw: random.Random, low: int, high: int) -> str:
    """One that is given out, in this Python's Unicode."""
    while True:
        letter = chr(draw.randrange(low, min(high, sys.maxunicode) + 1))
        if unicodedata.category(letter) not in ("Cn", "Cs"):
            return letter


def _between(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.75:
        return " "
    if kind < 0.85:
        return draw.choice(SPACES)
    return draw.choice(INVISIBLE) if kind < 0.93 else ""
