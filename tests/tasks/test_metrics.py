"""Evidence and metrics of each task against the field's own libraries and definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.runtime.errors import BadInput
from edgekit.runtime.processors.question_answering import prepare
from edgekit.runtime.processors.token_classification import first_tokens
from edgekit.runtime.tokenise import Window, load_tokeniser
from edgekit.tasks import find_task
from edgekit.tasks.encoders.question_answering import exact_match, labels, word_f1

TAGS = ["O", "B-room", "I-room", "B-colour", "I-colour"]


def one_pass(words: list[int], text: str = "") -> Window:
    count = len(words)
    return Window(np.arange(count), None, np.zeros((count, 2), dtype=np.int64), np.array(words), text)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=8), min_size=1, max_size=6)
)
def test_span_f1_is_seqevals(sentences: list[list[tuple[str, str]]]) -> None:
    from seqeval.metrics import f1_score

    task = find_task("token-classification")
    found = []
    for pairs in sentences:
        logits = np.zeros((1, len(pairs) + 2, len(TAGS)), dtype=np.float32)
        for place, (_, said) in enumerate(pairs):
            logits[0, place + 1, TAGS.index(said)] = 1.0
        one = one_pass([-1, *range(len(pairs)), -1])
        found.append(task.evidence([logits], [[one]], {"tags": [tag for tag, _ in pairs]}, TAGS))
    wanted = [[tag for tag, _ in pairs] for pairs in sentences]
    said = [[tag for _, tag in pairs] for pairs in sentences]
    assert task.reduce(np.array(found)) == pytest.approx(f1_score(wanted, said, zero_division=1), abs=1e-9)


def test_first_tokens() -> None:
    assert first_tokens(np.array([-1, 0, 0, 1, 2, 2, -1])).tolist() == [1, 3, 4]
    assert first_tokens(np.array([-1, -1])).tolist() == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 5)), min_size=3, max_size=40))
def test_spearman_is_scipys(pairs: list[tuple[float, int]]) -> None:
    from scipy.stats import spearmanr

    found = np.array(pairs, dtype=np.float64)
    ours = find_task("feature-extraction").reduce(found)
    constant = [len(set(column)) == 1 for column in found.T]
    if any(constant):
        assert ours == float(all(constant))
        return
    assert ours == pytest.approx(float(spearmanr(found[:, 0], found[:, 1]).statistic), abs=1e-9)


def test_what_says_nothing_agrees_with_what_says_nothing() -> None:
    """A tagger that finds no entity, a head without any label, a constant score, a vector of zeros, each beside the same."""
    nothing = np.zeros((4, 3))
    assert find_task("token-classification").reduce(nothing) == 1.0
    assert find_task("token-classification").reduce(np.add(nothing, [0, 1, 0])) == 0.0
    labels = find_task("multi-label-classification")
    assert labels.reduce(np.zeros((4, 6))) == 1.0 and labels.reduce(np.eye(6)[:4]) == 0.0
    number = find_task("text-regression")
    constant = np.full((4, 2), 0.5)
    varied = np.add(constant, [[0, 0], [0, 1], [0, 2], [0, 3]])
    for metric in (number.reduce, *number.beside.values()):
        assert metric(constant) == 1.0 and metric(varied) == 0.0
    embed = find_task("feature-extraction")
    for vector, agrees in ((np.zeros((1, 2)), 1.0), (np.ones((1, 2)), 0.0)):
        assert embed.evidence([vector], [[]], {"embedding": [0.0, 0.0]}, []) == [agrees]


def test_squad_counts_words() -> None:
    assert exact_match("The  Cat!", "cat") == 1.0
    assert word_f1("the big cat", "a cat") == pytest.approx(2 / 3)
    assert word_f1("", "") == 1.0 and word_f1("dog", "") == 0.0


@pytest.mark.parametrize("length", [24, 32, 512])
def test_windows_hold_all_of_a_context_and_every_answer(tiny_model: Path, length: int) -> None:
    tokenise = load_tokeniser(tiny_model / "tokenizer.json", length, segments=True)
    context = "turn on the red light in the kitchen . paint the hall blue . is the white light in the office on ? " * 4
    item = {"question": "paint what ?", "context": context}
    windows = prepare(tokenise, item)
    assert all(len(one.ids) <= length for one in windows)
    assert (len(windows) > 1) == (length < 512)
    covered = set()
    for one in windows:
        assert one.types is not None and set(one.types[one.words >= 0].tolist()) == {1}
        for low, high in one.offsets[one.words >= 0]:
            covered |= set(range(low, high))
    assert {place for place, letter in enumerate(context) if not letter.isspace()} == covered
    for start in (context.find("kitchen"), context.rfind("office")):
        text = context[start:].split()[0]
        row: dict[str, Any] = {**item, "answers": {"text": [text], "answer_start": [start]}}
        wanted = labels(row, windows, {})
        assert any(label[0] >= 0 for label in wanted)
        for one, (first, last) in zip(windows, wanted, strict=True):
            if first >= 0:
                assert context[one.offsets[first, 0] : one.offsets[last, 1]] == text


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("a question alone", "reads an object"),
        ({"question": "what?"}, "reads an object"),
        ({"question": "", "context": "words"}, "empty"),
        ({"question": "word " * 40, "context": "words"}, "tokens for the context"),
        ({"question": "what?", "context": "word " * 100_000}, "windows is longer"),
    ],
)
def test_questions_that_cannot_be_asked(tiny_model: Path, item: Any, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        prepare(load_tokeniser(tiny_model / "tokenizer.json", 24), item)


@pytest.mark.parametrize("words", [[], ["fine", ""], ["fine", 3]])
def test_words_that_cannot_be_tagged(tiny_model: Path, words: list[Any]) -> None:
    with pytest.raises(BadInput):
        load_tokeniser(tiny_model / "tokenizer.json", 24).words(words)
