"""Text to token ids, by the bundle's own tokenizer file, with the truncation the model was trained with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.pixels import PIXEL_VALUES, Pixels
from edgekit.runtime.prompts import Prompts
from edgekit.runtime.sound import Sound
from edgekit.runtime.spelling import Spelling
from edgekit.runtime.wordpiece import WordPieces, word_pieces

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["FEWEST_READ", "PARALLELISM", "Tokeniser", "Window", "checked", "encoded", "load_tokeniser", "read_tokenizer"]

PARALLELISM = "TOKENIZERS_PARALLELISM"
"""What tells the tokenizers library, by "false", to make no threads of its own."""
LONG = 20_000
"""Characters of a text that takes so long that other threads are let run meanwhile."""
LONGEST_TEXT = 4_000_000
"""Characters; a longer text is a mistake or an attack."""
CHARACTERS_A_TOKEN = 64
"""Of a text that will be cut, this many characters per token of the limit are tokenised first, but never fewer than `FEWEST_READ`."""
FEWEST_READ = 100_000
"""Characters."""
MORE = 4
"""How many times as many are tokenised then, where these do not settle which tokens are kept."""
MARGIN, WORDS_OF_MARGIN = 1000, 3
"""Characters, and words as the tokenizer splits a text, between the tokens that are kept and what was not tokenised."""
LEAST_ROOM = 8
"""Tokens of the context that every window must have room for."""
MOST_WINDOWS = 4096
"""Windows of one context; a context of more is a mistake or an attack."""
MASK = np.ones((1, 8192), dtype=np.int64)
"""Of texts up to so many tokens, which are all read: nobody may change it."""
NO_OFFSETS, NO_WORDS = np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Window:
    """What one run of the model reads: token ids of one stretch of text, the pixels of an image, or what is read of a sound."""

    ids: np.ndarray
    """int64 (length,): token ids with the model's special tokens; (0,) for an image or a sound."""
    types: np.ndarray | None
    """int64 (length,): 0 for the first text, 1 for the second; None where the model has no such input."""
    offsets: np.ndarray = field(default_factory=lambda: NO_OFFSETS)
    """int64 (length, 2): the characters [start, end) of the text, or of its word, that each token covers; (0, 2) where nobody asked."""
    words: np.ndarray = field(default_factory=lambda: NO_WORDS)
    """int64 (length,): index of the word that each token belongs to; -1 for special tokens and for those of a question; (0,) where nobody asked."""
    text: str = ""
    """The text that `offsets` refer to; empty for ready-made words and for two texts."""
    truncated: bool = False
    """Whether some of the text was cut off: its end, or its beginning where the tokenizer says so."""
    ready: int = 0
    """How many ready-made words it was made of; 0 for a text."""
    pixels: Pixels | None = None
    """Of an image; None of all else."""
    sound: Sound | None = None
    """Of a sound; None of all else."""
    spelling: Spelling | None = None
    """How what a CTC head says of the sound is written; None of all else."""

    @property
    def size(self) -> int:
        """Tokens, or the numbers of an image or a sound."""
        other = self.pixels or self.sound
        return len(self.ids) if other is None else other.values.size

    def feed(self) -> dict[str, np.ndarray]:
        """Session inputs: of a text int64 (1, length) each, where the mask of ones is a part of one array that all share and nobody may change;
        of an image float32 (1, channels, height, width), of a sound float32 (1, frames, bins), (1, bins, frames) or (1, samples)."""
        if self.pixels is not None:
            return {PIXEL_VALUES: self.pixels.tensor()[None]}
        if self.sound is not None:
            return {self.sound.name: self.sound.tensor()[None]}
        ids = self.ids[None]
        count = ids.shape[1]
        feed = {"input_ids": ids, "attention_mask": MASK[:, :count] if count <= MASK.shape[1] else np.ones_like(ids)}
        if self.types is not None:
            feed["token_type_ids"] = self.types[None]
        return feed


@dataclass(frozen=True)
class Tokeniser:
    """A tokenizer, the length that texts are cut at, and the inputs that the model takes.

    Nothing of it changes when it is used, so that any number of threads may.
    """

    tokenizer: Tokenizer
    """Without truncation or padding, which are settings that calls would share: encodings are cut here."""
    max_length: int
    segments: bool
    """Whether the model takes token_type_ids, which tell the two texts of a pair apart."""
    pairs: bool | None = None
    """Where a task reads a text or a pair of texts: whether this model reads pairs; None: either."""
    left: bool = False
    """Whether a text that is too long loses its beginning instead of its end (transformers: truncation_side)."""
    prompts: Prompts = field(default_factory=Prompts)
    """What may be put before a text."""
    cuts: bool = True
    """Whether a text beyond the limit is cut; a language model's is given whole, and refused by who reads it."""
    marked: bool = True
    """Whether its tokens say which of them begin no word (WordPiece's ##), and words by themselves have the tokens that they have in a text."""
    pieces: WordPieces | None = None
    """How the ids of a plain text are found sooner, where they can be."""

    def text(self, text: object, *, before: str = "", where: str | None = None, placed: bool = False) -> Window:
        """One text, after `before`, cut at the limit; `where`: which part of an input it is.

        `placed`: with the offsets and words of its tokens, which take as long to read as the rest.

        Raises:
            BadInput: it is empty, far too long, not text, not valid Unicode, or the tokenizer keeps nothing of it.
        """
        whole = before + checked(text, where)
        if self.pieces is not None and not placed and (ids := self.pieces.ids(whole, self.max_length)) is not None:
            return Window(np.array(ids, dtype=np.int64), np.zeros(len(ids), dtype=np.int64) if self.segments else None)
        encoding, read = self._encoded(whole)
        cut, kept = len(whole) - len(read), self._kept(encoding)
        if not placed:
            return self._window(encoding, read, kept, truncated=cut > 0)
        window = self._placed(encoding, whole if self.left else read, kept, truncated=cut > 0)
        return replace(window, offsets=window.offsets + cut * (window.words >= 0)[:, None]) if self.left and cut else window

    def words(self, words: Sequence[object]) -> Window:
        """Ready-made words, cut at the limit, with the ids of the text that they make with single spaces between them.

        `Window.words` holds their indices; a word of which the tokenizer keeps nothing has no token.

        Raises:
            BadInput: no words, or one that cannot be used.
        """
        if not words:
            raise BadInput("no words given", where="words")
        given = [checked(word, f"words[{number}]") for number, word in enumerate(words)]
        encoding = encoded(self.tokenizer, given if self.marked else " ".join(given), is_pretokenized=self.marked)
        window = self._placed(encoding, "", self._kept(encoding))
        if not self.marked:
            lengths = np.asarray([len(word) for word in given])
            starts = np.cumsum(lengths + 1) - lengths - 1
            word_of = np.repeat(np.arange(len(given)), lengths + 1)[:-1]
            word_of[starts[1:] - 1] = -1
            indices = words_at(window, word_of)
            offsets = np.where(indices[:, None] >= 0, window.offsets - starts[indices][:, None], 0).clip(min=0)
            window = replace(window, words=indices, offsets=offsets)
        return replace(window, ready=len(given))

    def whole_words(self, text: object) -> Window:
        """One text, cut at the limit, whose words are what transformers' pipelines take for words.

        Where the tokenizer marks the pieces of a word that do not begin it (`marked`), its own words; elsewhere what stands between
        white space, punctuation included. Tokens of white space alone are of no word.

        Raises:
            BadInput: as `text`.
        """
        window = self.text(text, placed=True)
        if self.marked:
            return window
        space = np.fromiter(map(str.isspace, window.text), bool, len(window.text))
        begins = ~space & np.concatenate([[True], space[:-1]])
        return replace(window, words=words_at(window, np.where(space, -1, np.cumsum(begins) - 1)))

    def both(self, first: object, second: object, *, where: tuple[str | None, str | None] = (None, None)) -> Window:
        """Two texts as one input, cut at the limit: the longer one loses tokens first, until both are equally long.

        Where an odd number of tokens is left for both, the longer text keeps one more, the second where they are equally long
        ("longest_first" of the tokenizers library). `where`: which parts of an input they are.

        Raises:
            BadInput: one of them is empty, far too long, not text, or not valid Unicode.
        """
        texts = checked(first, where[0]), checked(second, where[1])
        encoding = encoded(self.tokenizer, *texts)  # which is longer is known once both are tokenised
        return self._window(encoding, "", self._kept(encoding))

    def first_cut(self, first: object, second: object) -> Window:
        """Two texts as one input, cut at the limit: the first one loses tokens, and the second none ("only_first").

        Raises:
            BadInput: as `both`, or the second leaves no room for the first.
        """
        texts = [checked(first), checked(second)]
        encoding, read = self._encoded(texts[0], texts[1])
        part = _parts(encoding)
        before, room = np.flatnonzero(part == 0), self.max_length - int((part != 0).sum())
        if len(before) <= room:
            return self._window(encoding, "", None, truncated=read != texts[0])
        if room < 1:
            raise BadInput(f"{texts[1][:60]!r} leaves no room for the text within {self.max_length} tokens", fix="shorten it")
        kept = part != 0
        kept[before[len(before) - room :] if self.left else before[:room]] = True
        return self._window(encoding, "", np.flatnonzero(kept).tolist())

    def pair(self, question: object, context: object, stride: int) -> list[Window]:
        """A question with each window of a context. Neighbouring windows overlap by `stride` tokens, at most half of what they can hold.

        Offsets and words refer to the context; tokens of the question count as special.

        Raises:
            BadInput: an input that cannot be used, or a question that leaves no room for the context.
        """
        first, whole = checked(question), checked(context)
        special = self.tokenizer.num_special_tokens_to_add(is_pair=True)
        room = self.max_length - special - len(encoded(self.tokenizer, first, add_special_tokens=False).ids)
        if room < LEAST_ROOM:
            raise BadInput(f"the question leaves {max(0, room)} of {self.max_length} tokens for the context", fix="shorten it")
        encoding = encoded(self.tokenizer, first, whole)
        part = _parts(encoding)
        context, beside = np.flatnonzero(part == 1), part != 1
        stretches = _stretches(len(context), room, min(stride, room // 2), left=self.left)
        if len(stretches) > MOST_WINDOWS:
            raise BadInput(f"a context of {len(stretches):,} windows is longer than {MOST_WINDOWS:,}", fix="split it")
        both = self._placed(encoding, whole, None, second=True)
        windows = []
        for stretch in stretches:
            kept = beside.copy()
            kept[context[stretch]] = True
            windows.append(_tokens(both, kept))
        return windows

    def _encoded(self, text: str, second: str | None = None) -> tuple[Encoding, str]:
        """(tokens of `text`, beside `second`; the stretch of it that was tokenised): the tokens that are kept are those of the whole text.

        A tokenizer splits a text into words first, by what stands around each place, and the tokens of a word depend on it alone. What is not
        tokenised can therefore change the words beside it, but none beyond them. Where there are too few words between, as of a
        tokenizer that takes the whole text for one, more is tokenised.
        """
        most = max(FEWEST_READ, self.max_length * CHARACTERS_A_TOKEN)
        while self.cuts and most < len(text):
            read = text[len(text) - most :] if self.left else text[:most]
            encoding = encoded(self.tokenizer, read, second)
            if self._settled(encoding, len(read)):
                return encoding, read
            most *= MORE
        return encoded(self.tokenizer, text, second), text

    def _settled(self, encoding: Encoding, characters: int) -> bool:
        """Whether what follows the first `characters` of a text, or stands before its last ones, cannot change the tokens that are kept."""
        own = np.flatnonzero(_parts(encoding) == 0)
        if len(own) <= self.max_length:
            return False
        words, offsets = encoding.word_ids, encoding.offsets
        kept, beyond = (
            (own[-self.max_length], own[: -self.max_length])
            if self.left
            else (own[self.max_length - 1], own[self.max_length :])
        )
        between = offsets[kept][0] if self.left else characters - offsets[kept][1]
        return between >= MARGIN and len({words[index] for index in beyond} - {words[kept]}) >= WORDS_OF_MARGIN

    def _kept(self, encoding: Encoding) -> list[int] | None:
        """Indices of the tokens that fit; None where all do. Of two texts the longer one loses tokens first."""
        if len(encoding) <= self.max_length or not self.cuts:
            return None
        part = _parts(encoding)
        counts = [int((part == side).sum()) for side in (0, 1)]
        room = max(0, self.max_length - int((part < 0).sum()))
        fewer = min(min(counts), room // 2)
        most = (fewer, room - fewer) if counts[0] <= counts[1] else (room - fewer, fewer)
        kept = part < 0
        for side in (0, 1):
            kept[np.flatnonzero(part == side)[max(0, counts[side] - most[side]) if self.left else 0 :][: most[side]]] = True
        found: list[int] = np.flatnonzero(kept).tolist()
        return found

    def _window(self, encoding: Encoding, text: str, kept: list[int] | None, *, truncated: bool = False) -> Window:
        """Ids and types of the tokens of `encoding` at the indices `kept`, None for all; `text` is what it was made of."""
        ids = encoding.ids
        if not ids:
            raise BadInput(f"no token is left of {text[:40]!r}", fix="give text that the tokenizer keeps, or leave it out")
        types = encoding.type_ids if self.segments else None
        if kept is not None:
            ids, types = [ids[index] for index in kept], types and [types[index] for index in kept]
        return Window(
            np.array(ids, dtype=np.int64),
            None if types is None else np.array(types, dtype=np.int64),
            truncated=truncated or kept is not None,
        )

    def _placed(
        self, encoding: Encoding, text: str, kept: list[int] | None, *, truncated: bool = False, second: bool = False
    ) -> Window:
        """As `_window`, with offsets, and with words: of the first text, or of the `second`."""
        window = self._window(encoding, text, kept, truncated=truncated)
        columns: list[list[Any]] = [encoding.word_ids, encoding.sequence_ids, encoding.offsets]
        if kept is not None:
            columns = [[column[index] for index in kept] for column in columns]
        words, parts, offsets = columns
        wanted = int(second)
        return replace(
            window,
            offsets=np.asarray(offsets, dtype=np.int64).reshape(-1, 2),
            words=np.asarray(
                [-1 if word is None or part != wanted else word for word, part in zip(words, parts, strict=True)],
                dtype=np.int64,
            ),
            text=text,
        )


def load_tokeniser(
    path: Path,
    max_length: int,
    *,
    segments: bool = False,
    pairs: bool | None = None,
    left: bool | None = None,
    prompts: Prompts | None = None,
) -> Tokeniser:
    """The tokenizer in `path` (a `tokenizer.json`), cutting at `max_length` tokens; the others as in `Tokeniser`.

    `left` None: as the file says (`truncation`, `direction`).

    Raises:
        BadInput: the file is not a tokenizer.
    """
    tokenizer = read_tokenizer(path)
    if left is None:
        left = (tokenizer.truncation or {}).get("direction") == "left"
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Tokeniser(
        tokenizer,
        max_length,
        segments,
        pairs,
        left,
        prompts=prompts or Prompts(),
        marked=_marked(tokenizer),
        pieces=word_pieces(tokenizer),
    )


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in `path`, a `tokenizer.json`.

    Raises:
        BadInput: the tokenizers library does not take it.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except BaseException as fault:
        if not _of_library(fault):
            raise
        raise BadInput(f"not a tokenizer: {str(fault)[:300]}", where=str(path)) from None


def encoded(tokenizer: Tokenizer, *texts: Any, **settings: bool) -> Encoding:
    """What `tokenizer` makes of `texts`.

    Raises:
        CheckFailed: it fails on them, which a sound tokenizer does on no text.
    """
    try:
        # A batch alone lets other threads of Python run meanwhile, seconds for a megabyte
        long = isinstance(texts[0], str) and len(texts[0]) > LONG and os.environ.get(PARALLELISM) == "false"
        if long and len(texts) == 1 and tokenizer.padding is None:
            (found,) = tokenizer.encode_batch([*texts], **settings)
            return found
        return tokenizer.encode(*texts, **settings)
    except BaseException as fault:
        if not _of_library(fault):
            raise
        raise CheckFailed(
            f"the tokenizer fails on {ascii(texts[0])[:60]}: {str(fault)[:300]}", where="tokenizer.json"
        ) from None


def _of_library(fault: BaseException) -> bool:
    """Whether the tokenizers library raised `fault`: plain Exception, and where it panics, one of pyo3's, which is none."""
    return isinstance(fault, Exception) or type(fault).__name__ == "PanicException"


def words_at(window: Window, word_of: np.ndarray) -> np.ndarray:
    """The word of each token, int64 (length,), where `word_of` holds the word of each character, -1 for space between words.

    A token of nothing but such space (a lone "▁" or "Ġ") belongs to none, as in transformers' token-classification pipeline.
    """
    size = len(word_of)
    places = np.where(word_of >= 0, np.arange(size), size)
    following = np.append(
        np.minimum.accumulate(places[::-1])[::-1], size
    )  # of each character, the first from there on that is in a word
    first = following[np.minimum(window.offsets[:, 0], size)]
    inside = (window.words >= 0) & (first < window.offsets[:, 1])
    return np.where(inside, np.append(word_of, -1)[first], -1)


def _marked(tokenizer: Tokenizer) -> bool:
    """Whether tokens say that they begin no word, and a word after a space is what it is by itself (which byte-level BPE is not)."""

    def pieces(text: str) -> list[str]:
        normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)] if tokenizer.pre_tokenizer else [normal]

    prefix = getattr(tokenizer.model, "continuing_subword_prefix", None)
    return bool(prefix) and pieces("a b") == [*pieces("a"), *pieces("b")]


def _parts(encoding: Encoding) -> np.ndarray:
    """Which text each token comes from, int64 (length,): 0 or 1, -1 for special tokens."""
    return np.asarray([-1 if one is None else one for one in encoding.sequence_ids], dtype=np.int64)


def _tokens(window: Window, kept: np.ndarray) -> Window:
    """`window` with the tokens that `kept`, bool (length,), says."""
    types = None if window.types is None else window.types[kept]
    return replace(window, ids=window.ids[kept], types=types, offsets=window.offsets[kept], words=window.words[kept])


def _stretches(count: int, room: int, stride: int, *, left: bool) -> list[slice]:
    """Stretches of at most `room` of `count` tokens, neighbours overlapping by `stride`, as the tokenizers library's windows: the first
    begins at the first token; `left`: it ends at the last one, and the others come before it."""
    step = room - stride
    windows = 1 + -(-max(0, count - room) // step)
    starts = [number * step for number in range(windows)]
    return [
        slice(max(0, count - start - room), count - start) if left else slice(start, min(start + room, count))
        for start in starts
    ]


def checked(text: object, where: str | None = None) -> str:
    """`text` as a string, where a model can read it; `where`: which part of an input it is.

    Raises:
        BadInput: not text, not valid Unicode, empty, or longer than 4 million characters.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as fault:
            raise BadInput(f"text is not valid UTF-8: {fault}", where=where) from None
    if not isinstance(text, str):
        raise BadInput(f"a text must be a string, not {type(text).__name__}", where=where)
    if len(text) > LONGEST_TEXT:
        raise BadInput(f"a text of {len(text):,} characters is longer than {LONGEST_TEXT:,}", where=where)
    if not text or text.isspace():
        raise BadInput("the text is empty", where=where, fix="give at least one word")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as fault:
            byte = ord(text[fault.start]) - 0xDC00  # as Python gives what it cannot decode of arguments and lines
            if 0x80 <= byte <= 0xFF:
                raise BadInput(
                    f"not UTF-8: byte 0x{byte:02x} behind {fault.start:,} characters", where=where, fix="give the text in UTF-8"
                ) from None
            raise BadInput("text holds lone surrogates, which are not valid Unicode", where=where) from None
    return text
