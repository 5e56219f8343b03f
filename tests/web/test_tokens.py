"""The runner for browsers and Node reads texts as the Rust library does: every code point, every kind of tokenizer, places included."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers

from edgekit.runtime.errors import EdgekitError
from edgekit.runtime.tokenise import Window, load_tokeniser
from lanes.web.texts import comparison_texts
from tests.tiny_word_tokenizers import MADE, TEXTS
from tests.web.node import ran
from tests.web.sentence_pieces import SENTENCE_PIECES, compiled

MAX_LENGTH = 24
COUNT = 100
LAST = 0x323AF
"""The last character that Unicode 17 has given out but for tags and variations."""
POINTS = [*(code for code in range(LAST + 64) if not 0xD800 <= code <= 0xDFFF), *range(0xDFFF0, 0xE0200), 0xF0000, 0x10FFFD]
NORMALIZERS = {
    "bert": normalizers.BertNormalizer(),
    "bert, cased": normalizers.BertNormalizer(lowercase=False),
    "SentencePiece": normalizers.Precompiled(compiled()),
    "SentencePiece, folded": normalizers.Precompiled(compiled("nmt_nfkc_cf")),
}
EVERY = {**MADE, **SENTENCE_PIECES}
PRE_TOKENIZERS = {
    "bert": pre_tokenizers.BertPreTokenizer(),
    "byte level": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "white space": pre_tokenizers.WhitespaceSplit(),
    "digits": pre_tokenizers.Digits(individual_digits=True),
    "punctuation": pre_tokenizers.Punctuation(),
}


def as_config(part: Any) -> Any:
    return json.loads(part.__getstate__())


POINTS_TOGETHER = 16
PLACED = [
    "".join(f"a{chr(code)}1" for code in POINTS[at : at + POINTS_TOGETHER]) for at in range(0, len(POINTS), POINTS_TOGETHER)
]
"""Texts of so many code points, each between two characters that nothing combines with: a call for each alone took three times as long."""


def differing(here: Iterable[str], there: list[str]) -> list[str]:
    """Which code points are in texts of which not the same is made."""
    first = (hex(code) for code in POINTS[::POINTS_TOGETHER])
    return [
        f"{code} and the {POINTS_TOGETHER - 1} after it"
        for code, one, other in zip(first, here, there, strict=True)
        if one != other
    ]


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Any:
    job = {
        "texts": PLACED,
        "normalizers": {name: as_config(part) for name, part in NORMALIZERS.items()},
        "pre_tokenizers": {name: as_config(part) for name, part in PRE_TOKENIZERS.items()},
    }
    return ran("code_points.mjs", job, tmp_path_factory.mktemp("points"))


@pytest.mark.parametrize("name", NORMALIZERS)
def test_every_code_point_is_normalized_alike(name: str, points: Any) -> None:
    assert differing(map(NORMALIZERS[name].normalize_str, PLACED), points["normalizers"][name]) == []


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_every_code_point_is_split_alike(name: str, points: Any) -> None:
    split = PRE_TOKENIZERS[name].pre_tokenize_str
    here = (" ".join(f"{start}-{end}" for _, (start, end) in split(text)) for text in PLACED)
    assert differing(here, points["pre_tokenizers"][name]) == []


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Any, Path]:
    """(inputs, what the runner makes of them by each tokenizer, the folder of the tokenizers)"""
    folder = tmp_path_factory.mktemp("tokenizers")
    documents = {}
    for number, (name, make) in enumerate(EVERY.items()):
        make().save(str(folder / f"{number}.json"))
        documents[name] = json.loads((folder / f"{number}.json").read_text(encoding="utf-8"))
    texts = [*TEXTS, *comparison_texts([word for text in TEXTS for word in text.split()], longest=MAX_LENGTH, count=COUNT)]
    inputs: list[Any] = [[way, [text]] for way in ("text", "wholeWords") for text in texts]
    inputs += [["words", [text.split()]] for text in texts]
    inputs += [[way, [one, other]] for way in ("both", "firstCut") for one, other in itertools.pairwise(texts)]
    inputs += [["pair", [one[:12], other, 4]] for one, other in itertools.pairwise(texts)]
    return inputs, ran("windows.mjs", {"tokenizers": documents, "inputs": inputs, "max_length": MAX_LENGTH}, folder), folder


@pytest.mark.parametrize("name", EVERY)
def test_windows_are_those_of_python(name: str, windows: tuple[list[Any], Any, Path]) -> None:
    inputs, found, folder = windows
    tokenise = load_tokeniser(folder / f"{list(EVERY).index(name)}.json", MAX_LENGTH, segments=True)
    assert isinstance(tokenise.tokenizer, Tokenizer)
    ways = {
        "text": lambda text: [tokenise.text(text, placed=True)],
        "wholeWords": lambda text: [tokenise.whole_words(text)],
        "words": lambda words: [tokenise.words(words)],
        "both": lambda *two: [tokenise.both(*two)],
        "firstCut": lambda *two: [tokenise.first_cut(*two)],
        "pair": tokenise.pair,
    }
    others = []
    for (way, given), other in zip(inputs, found[name], strict=True):
        try:
            here: Any = ways[way](*given)
        except EdgekitError as fault:
            here = type(fault).__name__
        if not (
            here == other
            if isinstance(here, str) or isinstance(other, str)
            else all(map(alike, here, other)) and len(here) == len(other)
        ):
            others.append((way, given))
    assert others == []


def alike(here: Window, there: Any) -> bool:
    """Whether ids and types are the same; where places were asked for, those of tokens that are of a word, and which of them are of one."""
    same = here.ids.tolist() == there["ids"] and here.types is not None and here.types.tolist() == there["types"]
    if not len(here.words):
        return same and here.truncated == there["truncated"]
    placed = [word >= 0 for word in here.words.tolist()]
    numbers: dict[int, int] = {}
    words = [numbers.setdefault(word, len(numbers)) if word >= 0 else -1 for word in there["words"]]
    mine: dict[int, int] = {}
    own = [mine.setdefault(word, len(mine)) if word >= 0 else -1 for word in here.words.tolist()]
    places = [pair for pair, of_word in zip(here.offsets.tolist(), placed, strict=True) if of_word]
    theirs = [[start, end] for start, end, of_word in zip(there["starts"], there["ends"], placed, strict=True) if of_word]
    return same and own == words and places == theirs and here.truncated == there["truncated"]
