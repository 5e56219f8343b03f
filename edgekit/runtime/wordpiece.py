"""WordPiece over plain ASCII, which most texts to most encoders are: the ids that the tokenizers library gives, in a fifth of its time.

The library keeps track of where each character came from through every step, for offsets that a classification never reads. Here a text is
lowered, its words and marks are found by one pattern, and each is looked up in the library's own vocabulary. Only for BERT's normalizer,
pre-tokenizer and model as they are, and only for texts whose every character these treat alike: any other text is the library's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["WordPieces", "word_pieces"]

_words: Callable[[str], list[str]] = re.compile(r"[0-9A-Za-z]+|[^ ]").findall
"""Words and single marks of printable ASCII, as BertPreTokenizer splits it: every mark of ASCII is punctuation there."""
LONGEST_TEXT, LONGEST_WORD = 2000, 24
"""Characters. What is longer is the library's: the time to split a word grows with its length's square, and faster here than there."""


@dataclass(frozen=True)
class WordPieces:
    """What the ids of a plain text follow from. Nothing of it changes, so that any number of threads may use it."""

    id_of: Callable[[str], int | None]
    """The library's model's own, which knows no added tokens: a piece -> its id."""
    lowers: bool
    unknown: int
    prefix: str
    """Before a piece that does not begin a word."""
    first: tuple[int, ...]
    last: tuple[int, ...]
    """Ids around every text."""
    begins: tuple[str, ...]
    """First letters of added tokens, which the library looks for before anything else: a text that holds one is not read here."""

    def ids(self, text: str, most: int) -> list[int] | None:
        """The ids of `text` with those around it; None where the library has to say them, or where they are more than `most`."""
        if len(text) > LONGEST_TEXT or not text.isascii() or not text.isprintable():
            return None
        if self.lowers:
            text = text.lower()
        for letter in self.begins:
            if letter in text:
                return None
        words = _words(text)
        if not words or max(map(len, words)) > LONGEST_WORD:
            return None
        ids = [*self.first]
        for word, number in zip(words, map(self.id_of, words), strict=True):
            if number is None:
                ids += self._pieces(word)
            else:
                ids.append(number)
        ids += self.last
        return ids if len(ids) <= most else None

    def _pieces(self, word: str) -> list[int]:
        """The longest token that a word which is none begins with, and again of the rest."""
        pieces: list[int] = []
        start = 0
        while start < len(word):
            before = self.prefix if start else ""
            for end in range(len(word), start, -1):
                piece = self.id_of(before + word[start:end])
                if piece is not None:
                    break
            else:
                return [self.unknown]
            pieces.append(piece)
            start = end
        return pieces


def word_pieces(tokenizer: Tokenizer) -> WordPieces | None:
    """How `tokenizer` reads plain ASCII, by its own word; None where it is not built of BERT's parts, or puts more than ids around a text."""
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    model, normalizer = tokenizer.model, tokenizer.normalizer
    if not isinstance(model, WordPiece) or not isinstance(normalizer, BertNormalizer):
        return None
    if not isinstance(tokenizer.pre_tokenizer, BertPreTokenizer):
        return None
    unknown = model.token_to_id(model.unk_token)
    if unknown is None or model.max_input_chars_per_word < LONGEST_WORD:
        return None
    inside = tokenizer.encode("a b", add_special_tokens=False).ids
    around = tokenizer.encode("a b")
    places = [place for place in range(len(around.ids)) if around.ids[place : place + len(inside)] == inside]
    if not inside or len(places) != 1 or any(around.type_ids):
        return None
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    begins = {text[:1] for text in added} | {text[:1].lower() for text in added}
    return WordPieces(
        model.token_to_id, normalizer.lowercase, unknown, model.continuing_subword_prefix,
        tuple(around.ids[: places[0]]), tuple(around.ids[places[0] + len(inside) :]), tuple(sorted(begins)),
    )  # fmt: skip
