"""Plain texts are read without the tokenizers library's own pass over them: to the same ids, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from edgekit.runtime.wordpiece import LONGEST_TEXT, LONGEST_WORD, word_pieces

WORDS = [
    "play",
    "the",
    "hall",
    "light",
    "a",
    "un",
    "##ing",
    "##s",
    "##l",
    "##ly",
    "##0",
    "1",
    "2",
    "!",
    ".",
    "'",
    "-",
    "[",
    "#",
    "##",
    "x" * 24,
]
TEXTS = st.text(st.sampled_from("playthehlightunings 01!.'-[]#CLS\t\n\x00\x7fé中\u00a0X"), max_size=60) | st.lists(
    st.sampled_from(
        [
            "playing",
            "halls",
            "Light",
            "un",
            "unplayly",
            "[CLS]",
            "[cls]",
            "##ing",
            "hall.",
            "x" * 24,
            "x" * 25,
            "newly",
            "NEW",
            "19",
            "a9",
        ]
    )
).map(" ".join)


def made(lowercase: bool = True, around: str = "[CLS] $A [SEP]", added: tuple[AddedToken, ...] = ()) -> Tokenizer:
    vocabulary = {name: number for number, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.add_tokens(list(added))
    return tokenizer


KINDS = {
    "lowered": made(),
    "cased": made(lowercase=False),
    "with a token of its own": made(added=(AddedToken("new", normalized=True), AddedToken("Lig", single_word=True))),
    "with a token that looks like a piece": made(added=(AddedToken("##9"),)),
    "nothing after": made(around="[CLS] $A"),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
def test_the_ids_are_the_librarys(kind: str, text: str) -> None:
    pieces = word_pieces(KINDS[kind])
    assert pieces is not None
    found = pieces.ids(text, 1000)
    assert found is None or found == KINDS[kind].encode(text).ids


def test_what_is_read_and_what_is_left_to_the_library() -> None:
    pieces = word_pieces(KINDS["lowered"])
    assert pieces is not None
    for text in ("play the light", "Playing!", "un-play 1.2", "zzz the", "x" * 24):
        assert pieces.ids(text, 100) == KINDS["lowered"].encode(text).ids, text
    for text in ("", " ", "é", "a\tb", "a [CLS] b", "x" * (LONGEST_WORD + 1), "a " * LONGEST_TEXT):
        assert pieces.ids(text, 10_000) is None, text
    assert pieces.ids("a a a", 5) is not None and pieces.ids("a a a", 4) is None, "a text that is cut is the library's"
    assert replace(pieces, begins=("p",)).ids("play", 100) is None


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": normalizers.Lowercase()},
        {"pre_tokenizer": pre_tokenizers.Whitespace()},
        {"model": models.BPE({"a": 0, "b": 1, "[UNK]": 2}, [], unk_token="[UNK]")},
        {"model": models.WordPiece({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD - 1)},
        {"model": models.WordPiece({"a": 0, "b": 1, "[CLS]": 2, "[SEP]": 3}, unk_token="?")},
        {"post_processor": processors.TemplateProcessing(single="$A [SEP] $A", special_tokens=[("[SEP]", 3)])},
        {"post_processor": processors.TemplateProcessing(single="$A:1 [SEP]:1", special_tokens=[("[SEP]", 3)])},
    ],
)
def test_other_tokenizers_are_the_librarys(change: dict[str, object]) -> None:
    tokenizer = made()
    for name, part in change.items():
        setattr(tokenizer, name, part)
    assert word_pieces(tokenizer) is None
