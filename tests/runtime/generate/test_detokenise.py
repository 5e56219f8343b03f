"""Text as it comes: whole characters, in sum what decoding everything gives; stop texts over the borders of tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.runtime.generate.detokenise import UNKNOWN, Detokeniser, Stops
from tests.runtime.generate.tiny_tokenizers import KINDS, TEXTS


@pytest.fixture(scope="module", params=sorted(KINDS))
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return KINDS[request.param]()


def pieces(tokenizer: Any, ids: list[int], before: list[int] | None = None) -> list[str]:
    text = Detokeniser(tokenizer, before or [])
    return [text.push(token) for token in ids] + [text.finish()]


@pytest.mark.parametrize("text", TEXTS)
def test_real_text_comes_in_whole_characters(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    found = pieces(tokenizer, ids)
    assert "".join(found) == tokenizer.decode(ids)
    assert all(UNKNOWN not in piece for piece in found)


@pytest.mark.parametrize("seed", range(8))
def test_any_tokens_in_any_order(tokenizer: Any, seed: int) -> None:
    generator = np.random.default_rng(seed)
    size = tokenizer.get_vocab_size()
    for _ in range(60):
        ids = generator.integers(0, size, generator.integers(1, 40)).tolist()
        assert "".join(pieces(tokenizer, ids)) == tokenizer.decode(ids)


@pytest.mark.parametrize("seed", range(4))
def test_bytes_of_characters_cut_and_mixed(tokenizer: Any, seed: int) -> None:
    """Runs of byte tokens, valid and not, with words and special tokens between them."""
    generator = np.random.default_rng(seed)
    vocabulary = tokenizer.get_vocab()
    stuff = [tokenizer.encode(text, add_special_tokens=False).ids for text in ("🙂", "é", "支", " the", "</s>", "a b")]
    stuff += [[vocabulary[name]] for name in ("<0xFF>", "<0xC3>", "<0xA9>", "ÿ", "Ã", "©", "▁") if name in vocabulary]
    for _ in range(60):
        ids = [token for index in generator.integers(0, len(stuff), 12) for token in stuff[index]]
        ids = ids[int(generator.integers(0, 3)) :]
        assert "".join(pieces(tokenizer, ids)) == tokenizer.decode(ids)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_no_character_for_long_is_given_as_it_comes(seed: int) -> None:
    """A model that says the same half of a character without end: what is sure is told, and no token is decoded with all before it."""
    tokenizer, generator = KINDS["byte_level"](), np.random.default_rng(seed)
    half = [
        tokenizer.get_vocab()[letter] for letter in "ðŁĻâĤÃ"
    ]  # bytes F0 9F 99 E2 82 C3, of which some orders begin a character
    ids = [half[index] for index in generator.integers(0, len(half) if seed else 1, 200)] + tokenizer.encode("é the 🙂").ids
    found = pieces(tokenizer, ids)
    assert "".join(found) == tokenizer.decode(ids)
    assert max(len(piece) for piece in found) < 40 and sum(len(piece) > 0 for piece in found[:150]) >= 5


def test_an_answer_goes_on_with_its_prompt(tokenizer: Any) -> None:
    """The space between prompt and answer is the answer's."""
    ids = tokenizer.encode("Once upon a time there was", add_special_tokens=False).ids
    for place in range(1, len(ids)):
        start = tokenizer.decode(ids[:place])
        assert start + "".join(pieces(tokenizer, ids[place:], ids[:place])) == tokenizer.decode(ids)


def test_a_prompt_that_ends_within_a_character_is_left_alone() -> None:
    tokenizer = KINDS["byte_level"]()
    alphabet = tokenizer.get_vocab()
    before, after = [alphabet["Ã"]], [alphabet["©"], alphabet["a"]]
    assert "".join(pieces(tokenizer, after, before)) == UNKNOWN + "a"


def test_special_tokens_have_no_text() -> None:
    tokenizer = KINDS["byte_level"]()
    think, end = (tokenizer.token_to_id(name) for name in ("<think>", "</s>"))
    assert pieces(tokenizer, [end, think, end]) == ["", "<think>", "", ""]
    assert pieces(tokenizer, [10_000]) == ["", ""]


def test_a_real_tokenizer(shared: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(shared / "models" / "stories260k" / "tokenizer.json"))
    generator = np.random.default_rng(0)
    for _ in range(200):
        ids = generator.integers(0, tokenizer.get_vocab_size(), 30).tolist()
        assert "".join(pieces(tokenizer, ids)) == tokenizer.decode(ids)


def cut(text: str, generator: np.random.Generator) -> list[str]:
    places = sorted(generator.integers(0, len(text) + 1, 6))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@pytest.mark.parametrize(
    ("text", "stops", "wanted"),
    [
        ("one two three", ("two",), "one "),
        ("one two three", ("three", "two"), "one "),
        ("one two three", ("e t",), "on"),
        ("one two three", ("four",), "one two three"),
        ("one two thre", ("three",), "one two thre"),
        ("aaab", ("aab",), "a"),
        ("ababac", ("abac",), "ab"),
        ("xabc", ("abc", "b"), "xa"),
        ("stop", ("stop",), ""),
        ("a\n\nb", ("\n\n",), "a"),
        ("plain", (), "plain"),
    ],
)
def test_stop_texts_wherever_pieces_end(text: str, stops: tuple[str, ...], wanted: str) -> None:
    generator = np.random.default_rng(0)
    for parts in (list(text), [text], *(cut(text, generator) for _ in range(50))):
        watch, said = Stops(stops), ""
        for part in parts:
            said += watch.push(part)
            assert not any(stop in said for stop in stops)
            if watch.found:
                break
        said += "" if watch.found else watch.finish()
        assert said == wanted, json.dumps(parts)
        assert watch.found == (wanted != text)


def test_no_more_is_held_back_than_may_be_a_stop_text() -> None:
    watch = Stops(("</end>",))
    assert [watch.push(part) for part in ("ab", "c<", "/", "e x", "<")] == ["ab", "c", "", "</e x", ""]
    assert watch.finish() == "<"


@pytest.mark.parametrize("kind", ["byte_level", "metaspace"])
def test_stop_texts_are_looked_for_in_the_names_of_special_tokens_as_transformers_does(kind: str) -> None:
    """Of one special token, of a part of it, and of one with the text beside it."""
    criteria = pytest.importorskip("transformers.generation.stopping_criteria")
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    tokenizer = KINDS[kind]()
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    names = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    generator, met = np.random.default_rng(1), 0
    letters = [number for text, number in tokenizer.get_vocab().items() if text.isascii() and text not in names]
    for _ in range(40):
        ids = generator.choice(letters, 16).tolist()
        ids[generator.integers(3, 12)] = tokenizer.token_to_id(name := names[generator.integers(len(names))])
        text = tokenizer.decode(ids, skip_special_tokens=False)
        place = text.index(name)
        for stop in (name, name[:2], text[max(0, place - 2) : place + 2], text[place + 1 : place + len(name) + 2]):
            wanted = criteria.StopStringCriteria(theirs, [stop])
            ends = next(end for end in range(len(ids)) if wanted(torch.tensor([[5, 6, *ids[: end + 1]]]), None)[0])
            words, watch, said = Detokeniser(tokenizer), Stops((stop,)), ""
            for number, token in enumerate(ids):
                said += watch.push(words.push(token), hidden=words.special.get(token, ""))
                if watch.found:
                    assert number == ends and name not in said, stop
                    met += 1
                    break
    assert met == 160
