"""What a CTC head says, written as text with the checkpoint's own vocabulary, as transformers' Wav2Vec2CTCTokenizer does.

Of each frame the likeliest token counts (greedy decoding). Tokens that repeat are one, the blank between two keeps them apart and is left out
(Graves et al. 2006, "Connectionist Temporal Classification", section 3), and the delimiter of words becomes a space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np

__all__ = ["Spelling"]

JOINED = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"),
    (" 're", "'re"),
)  # fmt: skip
"""What transformers writes closer together where `clean_up_tokenization_spaces` says so, in this order."""
LONGEST_TOKEN = 64


@dataclass(frozen=True)
class Spelling:
    """How numbers of outputs are written, by the settings of a Wav2Vec2CTCTokenizer."""

    tokens: tuple[str, ...]
    """By number."""
    blank: str
    """transformers: pad_token."""
    unknown: str
    """What numbers beyond the vocabulary are, and letters outside it (unk_token)."""
    delimiter: str | None
    """Between words (word_delimiter_token); None where there is none."""
    space: str = " "
    """What is written for it (replace_word_delimiter_char)."""
    lower_case: bool = False
    """Whether the vocabulary is of capitals, and texts of small letters (do_lower_case)."""
    clean_up: bool = False
    """Whether no space stands before a full stop and the like (clean_up_tokenization_spaces)."""

    def faults(self) -> list[str]:
        """What is at odds within it."""
        found = [] if self.blank in self.tokens else [f"blank: {self.blank!r} is none of the tokens"]
        return (
            found
            + [
                f"tokens: {token[:20]!r}… is longer than {LONGEST_TOKEN} letters"
                for token in self.tokens
                if len(token) > LONGEST_TOKEN
            ][:1]
        )

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Token -> its number, the first of several."""
        return {token: number for number, token in reversed([*enumerate(self.tokens)])}

    def text(self, best: Sequence[int] | np.ndarray) -> str:
        """The text of the likeliest token's number of each frame, (t,)."""
        count = len(self.tokens)
        tokens = [self.tokens[number] if 0 <= number < count else self.unknown for number in np.asarray(best).tolist()]
        kept = [token for token, _ in groupby(tokens) if token != self.blank]
        text = "".join(self.space if token == self.delimiter else token for token in kept).strip()
        text = text.lower() if self.lower_case else text
        if self.clean_up:
            for apart, together in JOINED:
                text = text.replace(apart, together)
        return text

    def encoded(self, text: str) -> list[int]:
        """Numbers of the tokens of `text`: tokens of several letters where they stand in it, else its letters; unknown ones as `unknown`, or left
        out where the vocabulary has no such token."""
        tokens: list[str] = []
        for piece in self._pieces(text):
            if len(piece) > 1 and piece in self.numbers:
                tokens.append(piece)
            else:
                piece = piece.upper() if self.lower_case else piece
                tokens += [self.delimiter if letter == " " and self.delimiter is not None else letter for letter in piece]
        other = self.numbers.get(self.unknown)
        found = [self.numbers.get(token, other) for token in tokens]
        return [number for number in found if number is not None]

    def unwritten(self, text: str) -> list[str]:
        """The letters of `text`, in order, that `text` of no numbers holds; white space aside."""
        pieces = (piece for piece in self._pieces(text) if len(piece) == 1 or piece not in self.numbers)
        return [letter for piece in pieces for letter in piece if not letter.isspace() and not self.writes(letter)]

    def writes(self, letter: str) -> bool:
        """Whether `letter` is written for some number."""
        token = letter.upper() if self.lower_case else letter
        written = self.space if token == self.delimiter else token.lower() if self.lower_case else token
        return token in self.numbers and written == letter

    def _pieces(self, text: str) -> list[str]:
        """`text`, cut at tokens of several letters."""
        return [piece for piece in self._several.split(text) if piece] if self._several is not None else [text]

    @cached_property
    def _several(self) -> re.Pattern[str] | None:
        """Tokens of several letters, the longest first, with the spaces around them."""
        several = sorted((token for token in self.tokens if len(token) > 1), key=len, reverse=True)
        return re.compile(rf"\s*({'|'.join(map(re.escape, several))})\s*") if several else None
