"""Answers to questions: exactly a stretch of the context, without white space at its ends, whatever a tokenizer counts to a token.

transformers has no question-answering pipeline any more; its last one cut answers at the ends of words, which these do not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.runtime.processors import Asked
from edgekit.runtime.processors.question_answering import LONGEST_ANSWER, answer, prepare
from edgekit.runtime.tokenise import load_tokeniser
from edgekit.tasks.encoders.question_answering import labels
from tests.tiny_word_tokenizers import MADE

CONTEXT = " we  went to\tnew york city \n in london "


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tokenizers")
    for number, make in enumerate(MADE.values()):
        make().save(str(folder / f"{number}.json"))
    return {name: folder / f"{number}.json" for number, name in enumerate(MADE)}


@pytest.mark.parametrize("kind", list(MADE))
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_an_answer_is_a_stretch_of_the_context(files: dict[str, Path], kind: str, seed: int) -> None:
    windows = prepare(load_tokeniser(files[kind], 64), {"question": "went where ?", "context": CONTEXT})
    generator = np.random.default_rng(seed)
    outputs = [generator.normal(size=(1, len(window.ids), 2)).astype(np.float32) for window in windows]
    found = answer(outputs, windows, Asked(top_k=20))
    assert found["answers"]
    for one in found["answers"]:
        assert one["text"] == CONTEXT[one["start"] : one["end"]] == one["text"].strip() != ""
    places = [(one["start"], one["end"]) for one in found["answers"]]
    assert len(set(places)) == len(places), "one candidate a stretch"


@pytest.mark.parametrize("kind", list(MADE))
@pytest.mark.parametrize(("text", "start"), [("london", 32), (" london", 31), ("london ", 32), (" london ", 31)])
def test_an_answer_of_the_rows_is_learned_and_found_with_or_without_space(
    files: dict[str, Path], kind: str, text: str, start: int
) -> None:
    assert CONTEXT[start : start + len(text)] == text
    windows = prepare(load_tokeniser(files[kind], 64), {"question": "went where ?", "context": CONTEXT})
    row = {"question": "went where ?", "context": CONTEXT, "answers": {"text": [text], "answer_start": [start]}}
    (wanted,) = labels(row, windows, {})
    assert wanted.min() > 0
    logits = np.zeros((1, len(windows[0].ids), 2), dtype=np.float32)
    logits[0, wanted[0], 0] = logits[0, wanted[1], 1] = 9
    found = answer([logits], windows, Asked())
    assert (found["text"], found["start"], found["end"]) == ("london", 32, 38)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), words=st.integers(1, 60))
def test_the_best_span_is_found_wherever_the_likeliest_starts_and_ends_lie(
    files: dict[str, Path], seed: int, words: int
) -> None:
    """All pairs one by one; the many likely starts lie behind the likely ends, so that none of those pairs is a span."""
    context = " ".join(f"word{number} ." for number in range(words))
    windows = prepare(load_tokeniser(next(iter(files.values())), 96), {"question": "went where ?", "context": context})
    generator = np.random.default_rng(seed)
    outputs, sums = [], dict[tuple[int, int], float]()
    for window in windows:
        count = len(window.ids)
        behind = np.linspace(-3, 3, count)
        logits = np.stack([behind, -behind], axis=1) * generator.choice([0, 1, 4]) + generator.normal(size=(count, 2))
        outputs.append(logits[None].astype(np.float32))
        inside = np.flatnonzero(window.words >= 0).tolist()
        for number, first in enumerate(inside):
            for last in inside[number : number + LONGEST_ANSWER]:
                span = int(window.offsets[first, 0]), int(window.offsets[last, 1])
                sums[span] = max(sums.get(span, -np.inf), float(outputs[-1][0, first, 0] + outputs[-1][0, last, 1]))
    found = answer(outputs, windows, Asked(top_k=20))
    wanted = sorted(sums, key=lambda span: (-sums[span], span))[:20]
    assert [(one["start"], one["end"]) for one in found.get("answers", [found])] == wanted


def test_an_answer_of_white_space_is_none(files: dict[str, Path]) -> None:
    windows = prepare(load_tokeniser(files["RoBERTa"], 64), {"question": "went where ?", "context": CONTEXT})
    row = {"question": "", "context": CONTEXT, "answers": {"text": ["  "], "answer_start": [3]}}
    assert labels(row, windows, {})[0].tolist() == [-1, -1]
