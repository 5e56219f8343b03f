"""Text to token ids, by the bundle's own tokenizer file, with the truncation the model was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.errors import BadInput

__all__ = ["Tokens", "Tokeniser", "load_tokeniser"]

LONGEST_TEXT = 4_000_000
"""Characters; beyond, a text is a mistake or an attack."""
CHARACTERS_A_TOKEN = 64
"""A text is cut to this many characters for each token of the limit before it is tokenised: no real text needs more."""


@dataclass(frozen=True)
class Tokens:
    """`ids` and `mask` int64 (batch, longest); `truncated`: whether each text lost its end."""

    ids: np.ndarray
    mask: np.ndarray
    truncated: list[bool]


@dataclass(frozen=True)
class Tokeniser:
    """A tokenizer with its limits."""

    tokenizer: Any
    max_length: int
    pad_id: int

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Token ids of a batch, padded to its longest text.

        Raises:
            BadInput: no texts, or one that is empty, far too long, not text, or not valid Unicode.
        """
        if not texts:
            raise BadInput("no text given")
        longest = self.max_length * CHARACTERS_A_TOKEN
        shortened = [_checked(text)[:longest] for text in texts]
        encodings = self.tokenizer.encode_batch(shortened)
        width = max(len(encoding.ids) for encoding in encodings)
        ids = np.full((len(texts), width), self.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        cut = [len(text) > longest or bool(encoding.overflowing) for text, encoding in zip(texts, encodings, strict=True)]
        return Tokens(ids, mask, cut)


def load_tokeniser(path: Path, max_length: int, pad_id: int) -> Tokeniser:
    """The tokenizer in `path` (a `tokenizer.json`), cutting at `max_length` tokens.

    Raises:
        BadInput: the file is not a tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as fault:  # tokenizers raises plain Exception
        raise BadInput(f"not a tokenizer: {fault}", where=str(path)) from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return Tokeniser(tokenizer, max_length, pad_id)


def _checked(text: Any) -> str:
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as fault:
            raise BadInput(f"text is not valid UTF-8: {fault}") from None
    if not isinstance(text, str):
        raise BadInput(f"a text must be a string, not {type(text).__name__}")
    if len(text) > LONGEST_TEXT:
        raise BadInput(f"a text of {len(text):,} characters is longer than {LONGEST_TEXT:,}")
    if not text.strip():
        raise BadInput("the text is empty", fix="give at least one word")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput("text holds lone surrogates, which are not valid Unicode") from None
    return text
