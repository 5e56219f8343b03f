"""Regular expressions of tokenizers, as far as needed to tell those that take exponential time on some text.

The tokenizers library runs them with backtracking engines. `(q+)+Z` on sixty letters q takes years: what is repeated can match a
text in several ways, and all are tried. Patterns of published tokenizers repeat single characters, and nothing of a variable length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

__all__ = ["narrowest", "own_texts", "pattern_fault"]

LONGEST = 4096
DEEPEST = 16
MOST_REPEATED = 1000
"""Of a counted repetition."""
MOST_UNBOUNDED = 3
"""Unbounded repetitions in a row: with k of them the time grows with the k-th power of the text's length."""
MANY = 16
"""A counted repetition of more counts as unbounded."""
QUANTIFIER = re.compile(r"[*+?]|\{(\d*)(,?)(\d*)\}")
GROUP = re.compile(r"\?(?::|=|!|<=|<!|>|[ims]*(?:-[ims]+)?:|<[A-Za-z_]\w{0,31}>)")
FLAGS = re.compile(r"\?[ims]*(?:-[ims]+)?\)")
ESCAPE = re.compile(
    r"\\(?:[pP]\{\^?[A-Za-z_ ]{1,64}\}|x\{[0-9A-Fa-f]{1,8}\}|x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{4}|[^0-9kgKXcCMR])", re.DOTALL
)


CODE = re.compile(r"\\(?:x\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4}))")
"""A character by its number."""
MOST_TEXTS = 48

Found: TypeAlias = tuple[bool, int, int]


class _Unsafe(ValueError):
    """What a pattern must not have."""


def pattern_fault(pattern: str) -> str | None:
    """Why `pattern` may take exponential time, or is not understood; None where every text takes polynomial time."""
    if not pattern or len(pattern) > LONGEST:
        return f"{len(pattern):,} characters"
    try:
        parser = _Parser(pattern)
        parser.alternatives(0)
        if parser.at < len(pattern):
            raise _Unsafe("a ) too many")
    except _Unsafe as fault:
        return str(fault)
    return None


def narrowest(pattern: str) -> int:
    """Characters that a pattern without a fault matches at least."""
    return _Parser(pattern).alternatives(0)[2]


def own_texts(patterns: Iterable[str]) -> list[str]:
    """Letters and words that stand in `patterns`: what they repeat, so that runs of these are what they may be slow on."""

    def character(found: re.Match[str]) -> str:
        number = int(next(filter(None, found.groups())), 16)
        return chr(number) if number < 0xD800 or 0xDFFF < number <= 0x10FFFF else ""

    plain = [CODE.sub(character, pattern) for pattern in patterns]
    words = [word for pattern in plain for word in re.findall(r"[^\W_]{2,}", pattern)]
    return list(dict.fromkeys((*"".join(plain), *words)))[:MOST_TEXTS]


class _Parser:
    """A recursive descent over one pattern; methods return whether what they read has one way to match, the unbounded repetitions in it,
    and the characters that it matches at least."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.at = pattern, 0

    def alternatives(self, depth: int) -> Found:
        if depth > DEEPEST:
            raise _Unsafe(f"groups nested deeper than {DEEPEST}")
        fixed, most, least = self.sequence(depth)
        while self.at < len(self.pattern) and self.pattern[self.at] == "|":
            self.at += 1
            _, unbounded, width = self.sequence(depth)
            fixed, most, least = False, max(most, unbounded), min(least, width)
        return fixed, most, least

    def sequence(self, depth: int) -> Found:
        fixed, unbounded, least = True, 0, 0
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            one, within, width = self.atom(depth)
            low, high = self.quantifier()
            if high > 1 and not one:
                raise _Unsafe("a repetition of what can match in several ways")
            within += high > MANY
            unbounded += within
            least += width * low
            fixed = fixed and one and low == high
        if unbounded > MOST_UNBOUNDED:
            raise _Unsafe(f"more than {MOST_UNBOUNDED} unbounded repetitions in a row")
        return fixed, unbounded, least

    def atom(self, depth: int) -> Found:
        letter = self.pattern[self.at]
        if letter == "(":
            return self.group(depth)
        if letter == "[":
            self.character_class()
        elif letter == "\\":
            start = self.at
            self.escape()
            return True, 0, int(self.pattern[start + 1] not in "AbBGzZ")
        elif letter in "*+?":
            raise _Unsafe(f"a {letter} that repeats nothing")
        else:
            self.at += 1
            return True, 0, int(letter not in "^$")
        return True, 0, 1

    def group(self, depth: int) -> Found:
        self.at += 1
        looks = False
        if flags := FLAGS.match(self.pattern, self.at):
            self.at = flags.end()
            return True, 0, 0
        if self.pattern[self.at : self.at + 1] in ("?", "*"):
            head = GROUP.match(self.pattern, self.at)
            if head is None:
                raise _Unsafe("a group of an unknown kind")
            self.at = head.end()
            looks = head[0] in ("?=", "?!", "?<=", "?<!")
        found = self.alternatives(depth + 1)
        if self.pattern[self.at : self.at + 1] != ")":
            raise _Unsafe("a ( that is not closed")
        self.at += 1
        return (*found[:2], 0) if looks else found

    def character_class(self) -> None:
        """A set of characters, with others within it."""
        opened = 0
        while self.at < len(self.pattern):
            letter = self.pattern[self.at]
            if letter == "\\":
                self.escape()
                continue
            self.at += 1
            if letter == "[":
                opened += 1
                if self.pattern[self.at : self.at + 1] == "^":
                    self.at += 1
                if self.pattern[self.at : self.at + 1] == "]":  # the first one is a character
                    self.at += 1
            elif letter == "]":
                opened -= 1
                if not opened:
                    return
        raise _Unsafe("a [ that is not closed")

    def escape(self) -> None:
        found = ESCAPE.match(self.pattern, self.at)
        if found is None:
            raise _Unsafe("a reference to a group, or an unknown escape")
        self.at = found.end()

    def quantifier(self) -> tuple[int, float]:
        found = QUANTIFIER.match(self.pattern, self.at)
        if found is None or found[0] in ("{}", "{,}"):
            return 1, 1
        self.at = found.end()
        if self.pattern[self.at : self.at + 1] in ("?", "+"):  # lazy or possessive
            self.at += 1
        if self.pattern[self.at : self.at + 1] in ("?", "*", "+", "{"):
            raise _Unsafe("a repetition of a repetition")
        if found[0] in ("*", "+", "?"):
            return (1 if found[0] == "+" else 0), (1 if found[0] == "?" else float("inf"))
        if max(len(found[1]), len(found[3])) > 6:
            raise _Unsafe("a repetition of too many")
        low = int(found[1] or 0)
        high = int(found[3]) if found[3] else (float("inf") if found[2] else low)
        if low > MOST_REPEATED or (high > MOST_REPEATED and high != float("inf")):
            raise _Unsafe(f"a repetition of more than {MOST_REPEATED:,}")
        return low, high
