"""Slips of fingers: a neighbouring key, a dropped, doubled or swapped letter."""

from __future__ import annotations

from random import Random

from edgekit.data.intents.grammar import choose

__all__ = ["misspell"]

NEIGHBOURS = {
    "a": "qsz", "b": "vgn", "c": "xdv", "d": "sef", "e": "wrd", "f": "dgr", "g": "fht",
    "h": "gjy", "i": "uok", "j": "hku", "k": "jli", "l": "kop", "m": "njk", "n": "bmh",
    "o": "ipl", "p": "ol", "q": "wa", "r": "etf", "s": "adw", "t": "ryg", "u": "yij",
    "v": "cbf", "w": "qes", "x": "zcs", "y": "tuh", "z": "xa",
}  # fmt: skip
SHORTEST = 5
"""Letters. Shorter words (on, off, not, call, play, lock) carry the intent, and a slip could turn one into another."""


def misspell(text: str, random: Random, vocabulary: frozenset[str]) -> str:
    """`text` with one slip inside one word of five letters or more; never a slip that makes another word of `vocabulary`."""
    words = text.split()
    long = [index for index, word in enumerate(words) if len(word) >= SHORTEST and word.isalpha()]
    if not long:
        return text
    index = choose(random, long)
    slipped = _slip(words[index], random)
    if slipped not in vocabulary:
        words[index] = slipped
    return " ".join(words)


def _slip(word: str, random: Random) -> str:
    at = 1 + int(random.random() * (len(word) - 2))  # the first letter stays, as it mostly does
    kind = choose(random, ("neighbour", "drop", "double", "swap"))
    if kind == "neighbour":
        return word[:at] + choose(random, NEIGHBOURS[word[at]]) + word[at + 1 :]
    if kind == "drop":
        return word[:at] + word[at + 1 :]
    if kind == "double":
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
