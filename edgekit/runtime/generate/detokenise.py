"""Incremental detokenising: only complete characters, in sum exactly what decoding all tokens at once gives.

A token's text depends on its neighbours in three ways: bytes of one character may come in several tokens; a run of byte
tokens (byte fallback) that is not valid as a whole becomes one replacement character a byte; and a space is stripped at the
start of a text. So tokens are decoded together with those before them, and held back until their text cannot change any more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Detokeniser", "Stops"]

BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
NEAR = 8
"""Tokens of a prompt that its answer is decoded with."""
MOST_HELD = 16
"""Tokens that are held back until it is looked whether some of them can no longer change: a character has four bytes at most."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class Detokeniser:
    """Takes tokens one by one and gives their text."""

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int] = ()) -> None:
        """`before`: tokens that the text continues, such as a prompt's; without any, its leading space is stripped."""
        self.tokenizer = tokenizer
        self.special = {
            number: str(token.content) for number, token in tokenizer.get_added_tokens_decoder().items() if token.special
        }
        """Names of the special tokens, which are no part of the text."""
        self._before: list[int] = list(before[-NEAR:])
        """Tokens whose text has been given; decoded before the next ones, which then do not start a text."""
        self._held: list[int] = []
        if self._before and (
            _is_byte(tokenizer.id_to_token(self._before[-1])) or tokenizer.decode(self._before).endswith(UNKNOWN)
        ):
            self._before = []  # it ends within a character

    def push(self, token: int) -> str:
        """The text that is complete with `token`; empty for special tokens and within a character or a run of byte tokens."""
        name = self.tokenizer.id_to_token(token)
        if name is None or token in self.special:
            return ""
        self._held.append(token)
        if _is_byte(name):
            return ""
        text = self._text()
        if text.endswith(UNKNOWN):
            return self._settled() if len(self._held) > MOST_HELD else ""
        self._before, self._held = self._held, []
        return text

    def _settled(self) -> str:
        """Of tokens that are no characters, and go on for long, the text before the last one, where that is sure to begin anew."""
        *first, last = self._held
        text, rest = self.tokenizer.decode(first), self.tokenizer.decode([last])
        if text + rest != self.tokenizer.decode(self._held):
            return ""
        self._held = first
        given = self._text()
        self._before, self._held = first, [last]
        return given

    def finish(self) -> str:
        """The text that was held back, after the last token."""
        text = self._text() if self._held else ""
        self._before, self._held = self._before + self._held, []
        return text

    def _text(self) -> str:
        known = self.tokenizer.decode(self._before) if self._before else ""
        return str(self.tokenizer.decode(self._before + self._held))[len(known) :]


def _is_byte(name: str | None) -> bool:
    return name is not None and BYTE.fullmatch(name) is not None


class Stops:
    """Passes text on up to the first stop text, holding back what may be the beginning of one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.stops = stops
        self.found = False
        self._held = ""
        self._shown: list[bool] = []
        """Whether each held character is part of the answer."""

    def push(self, text: str, *, hidden: str = "") -> str:
        """The text that is certain to come before any stop text; `found` is set once one is complete.

        `hidden`: characters after it that stop texts are looked for in but that are no part of the answer, as the name of a special token
        (transformers' `stop_strings` are looked for in them too).
        """
        if not self.stops:
            return text
        self._held += text + hidden
        self._shown += [True] * len(text) + [False] * len(hidden)
        # The first one to be complete if characters came one by one: boundaries of pieces must not matter.
        ends = [(start + len(stop), start) for stop in self.stops if (start := self._held.find(stop)) >= 0]
        if ends:
            self.found = True
            return self._give(min(ends)[1], drop=True)
        longest = max(len(stop) for stop in self.stops) - 1
        start = max(0, len(self._held) - longest)
        for index in range(start, len(self._held)):
            if any(stop.startswith(self._held[index:]) for stop in self.stops):
                return self._give(index)
        return self._give(len(self._held))

    def finish(self) -> str:
        """The text that was held back, after the last piece."""
        return self._give(len(self._held))

    def _give(self, length: int, *, drop: bool = False) -> str:
        text = "".join(letter for letter, shown in zip(self._held[:length], self._shown, strict=False) if shown)
        self._held, self._shown = ("", []) if drop else (self._held[length:], self._shown[length:])
        return text
