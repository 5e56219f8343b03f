"""Answers of question-answering rows are where they say, as SQuAD's scorer and transformers take it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.data.answers import span_of
from edgekit.data.rows import read_rows
from edgekit.errors import BadInput

CONTEXT = "In 1911 the  Norman\tqueen, Ada\u00a0Love, saw Paris. She liked \u201cParis\u201d."
COLUMNS = ("question", "context", "answers")


def row(text: str, start: int) -> str:
    answers = {"text": [text], "answer_start": [start]}
    return json.dumps({"question": "Who?", "context": CONTEXT, "answers": answers}) + "\n"


@pytest.mark.parametrize(
    ("answer", "start", "held"),
    [
        ("1911", 3, "1911"), (" 1911 ", 2, "1911"), ("1911", 2, "1911"), ("the Norman queen", 8, "the  Norman\tqueen"),
        ("Ada Love", 27, "Ada\u00a0Love"), ("Ada\u00a0Love", 27, "Ada\u00a0Love"), ("ADA", 27, "Ada"), ("Norman\n queen\n", 13, "Norman\tqueen"),
        ("\u201cParis\u201d", 58, "\u201cParis\u201d"), ("paris.", 41, "Paris."),
    ],
)  # fmt: skip
def test_an_answer_with_other_white_space_or_words_that_score_the_same(
    tmp_path: Path, answer: str, start: int, held: str
) -> None:
    (tmp_path / "r.jsonl").write_text(row(answer, start))
    read_rows(tmp_path / "r.jsonl", COLUMNS)
    span = span_of(answer, start, CONTEXT)
    assert span is not None and CONTEXT[slice(*span)] == held


@pytest.mark.parametrize(
    ("answer", "start", "says"),
    [
        ("Rome", 3, "'answers': 'Rome' is not at character 3, where the context has '1911'; it is nowhere else"),
        ("Paris", 3, "'Paris' is not at character 3, where the context has '1911 '; it begins at 41"),
        ("Ada  Love", 0, "it begins at 27"),
        ("Paris", 999, "'Paris' is not at character 999, which the context of 66 has not; it begins at 41"),
    ],
)
def test_an_answer_that_is_elsewhere_or_nowhere_is_told_with_its_line(
    tmp_path: Path, answer: str, start: int, says: str
) -> None:
    (tmp_path / "r.jsonl").write_text(row("1911", 3) + row(answer, start))
    with pytest.raises(BadInput) as caught:
        read_rows(tmp_path / "r.jsonl", COLUMNS)
    assert says in caught.value.what and caught.value.where == f"{tmp_path / 'r.jsonl'}:2"


def test_an_empty_answer_says_that_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(row("", 0))
    assert len(read_rows(tmp_path / "r.jsonl", COLUMNS)) == 1
    assert span_of(" ", 2, CONTEXT) is None


@pytest.mark.parametrize("template", ["about", "{} and {}", "{label}", "{{}}", "{} {", "}{"])
def test_a_template_without_one_place_for_a_label_is_told_with_its_line(tmp_path: Path, template: str) -> None:
    good = {"text": "a", "label": "b", "template": "It is {}."}
    (tmp_path / "r.jsonl").write_text(json.dumps(good) + "\n" + json.dumps({**good, "template": template}) + "\n")
    with pytest.raises(BadInput, match=r"'template' does not hold one \{\}") as caught:
        read_rows(tmp_path / "r.jsonl", ("text", "label", "template"), kinds={"label": "candidate"})
    assert str(caught.value.where).endswith("r.jsonl:2")
