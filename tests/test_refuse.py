"""What cannot work is said from the recipe's text alone, all of it at once."""

from __future__ import annotations

import re
from typing import Any

import pytest

from edgekit.recipe import recipe_model
from edgekit.refuse import faults_of

DATA = {"train": "a.jsonl", "validation": "b.jsonl", "test": "c.jsonl"}


def recipe(task: str, *compress: dict[str, Any], data: dict[str, Any] | None = None) -> Any:
    asked = {
        "schema": 1,
        "task": task,
        "model": {"new": {"layers": 4}},
        "data": {**DATA, **(data or {})},
        "compress": list(compress),
    }
    return recipe_model().model_validate(asked)


DISTILL, VOCABULARY = {"method": "distill"}, {"method": "prune-vocabulary"}


@pytest.mark.parametrize(
    ("task", "steps", "text"),
    [
        ("text-classification", [VOCABULARY, DISTILL], "put prune-vocabulary last, or set hidden"),
        (
            "text-classification",
            [VOCABULARY, {**DISTILL, "hidden": "none", "relations": "minilmv2"}],
            "put prune-vocabulary last",
        ),
        ("token-classification", [VOCABULARY, {**DISTILL, "hidden": "none"}], "put prune-vocabulary last"),
        ("text-classification", [{**DISTILL, "unlabelled": 9}], "names no `unlabelled` rows"),
        ("text-classification", [{**DISTILL, "layers": 5}], "cannot start from a model of 4"),
        ("text-classification", [{**DISTILL, "take": [0, 4]}], r"layers \[4\] of a model of 4"),
        ("text-classification", [{**DISTILL, "layers": 1, "hidden": "skip"}], "leaves out the last layer"),
        ("text-classification", [{**DISTILL, "layers": 2}, {**DISTILL, "layers": 3}], "cannot start from a model of 2"),
        ("text-classification", [{**DISTILL, "relations": "minilmv2", "relation_layer": 4}], "no layer of a teacher of 4"),
        ("text-classification", [{"method": "prune-structured", "layers": 4}], "removes nothing"),
        ("feature-extraction", [], "do not say what to learn"),
    ],
)
def test_it_is_refused(task: str, steps: list[dict[str, Any]], text: str) -> None:
    (fault,) = faults_of(recipe(task, *steps), [], None)
    assert re.search(text, fault)


def test_unlabelled_text_is_no_question() -> None:
    asked = recipe("question-answering", {**DISTILL, "unlabelled": 9}, data={"unlabelled": "d.jsonl"})
    assert any("no input of question-answering" in fault for fault in faults_of(asked, [], None))


def test_all_of_it_at_once() -> None:
    asked = recipe("text-classification", VOCABULARY, {**DISTILL, "layers": 9, "unlabelled": 3})
    assert len(faults_of(asked, [], None)) == 3


def test_what_works_is_not_refused() -> None:
    plain = {**DISTILL, "hidden": "none"}
    assert (
        faults_of(recipe("text-classification", {**DISTILL, "layers": 2, "hidden": "skip"}, VOCABULARY, plain), [], None) == []
    )
    assert faults_of(recipe("text-classification", DISTILL), [], "owner/on-the-hub") == []
