"""What cannot work is said from the recipe's text alone, all of it at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgekit.config.target import Quantize
from edgekit.plan.recipes import recipe_model
from tests.plan.faults import faults_in

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
    (fault,) = faults_in(recipe(task, *steps))
    assert re.search(text, fault)


def test_unlabelled_text_is_no_question() -> None:
    asked = recipe("question-answering", {**DISTILL, "unlabelled": 9}, data={"unlabelled": "d.jsonl"})
    assert any("no input of question-answering" in fault for fault in faults_in(asked))


def test_a_text_alone_is_no_pair() -> None:
    asked = recipe("text-classification", {**DISTILL, "unlabelled": 9}, data={"unlabelled": "d.jsonl"})
    (fault,) = faults_in(asked, pairs=True)
    assert "no input of rows of pairs" in fault and faults_in(asked) == []


def test_columns_that_no_row_is_read_by() -> None:
    columns = {"text": "premise", "text_pair": "hypothesis", "text_par": "hypothesis"}
    (fault,) = faults_in(recipe("text-classification", data={"columns": columns}))
    assert fault == "data, columns: 'text_par' is no column of text-classification, whose rows have label, text, text_pair"


def test_all_of_it_at_once() -> None:
    asked = recipe("text-classification", VOCABULARY, {**DISTILL, "layers": 9, "unlabelled": 3})
    assert len(faults_in(asked)) == 3


def test_what_works_is_not_refused() -> None:
    plain = {**DISTILL, "hidden": "none"}
    assert faults_in(recipe("text-classification", {**DISTILL, "layers": 2, "hidden": "skip"}, VOCABULARY, plain)) == []
    assert faults_in(recipe("text-classification", DISTILL), "owner/on-the-hub") == []


@pytest.mark.parametrize(
    ("task", "step", "text"),
    [
        ("text-classification", {**DISTILL, "lora": 2, "lora_targets": ["querry"]}, "no module 'querry'.*nearest: query"),
        (
            "text-classification",
            {"method": "prune-gradual", "sparsity": 0.5, "lora": 2, "lora_targets": ["layer.4.output.dense"]},
            r"no module 'layer.4.output.dense'.*nearest: layer\.\d\.output\.dense",
        ),
        (
            "text-classification",
            {"method": "prune-unstructured", "pattern": "2:5"},
            "2:5 does not divide hidden size of 192 and intermediate size of 768",
        ),
        ("feature-extraction", {**DISTILL, "alpha": 0.5}, "rows of feature-extraction have none"),
    ],
)
def test_what_the_model_or_the_task_does_not_have(task: str, step: dict[str, Any], text: str) -> None:
    assert any(re.search(text, fault) for fault in faults_in(recipe(task, step)))


def test_modules_and_vocabulary_of_a_model_on_disk(tmp_path: Path) -> None:
    name = "deberta.encoder.layer.0.attention.self.query_proj.weight"
    save_file({name: np.zeros((4, 4), dtype=np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Unigram", "vocab": []}}')
    (tmp_path / "config.json").write_text('{"hidden_size": 32, "intermediate_size": 50}')
    asked = recipe("text-classification", {**DISTILL, "lora": 2, "lora_targets": ["query"]}, VOCABULARY)
    asked = asked.model_copy(update={"model": asked.model.model_copy(update={"new": None, "id": "m"})})
    faults = faults_in(asked, str(tmp_path))
    assert any("no module 'query'" in fault and "nearest: query_proj" in fault for fault in faults)
    assert any("vocabulary is Unigram, and only WordPiece" in fault for fault in faults)
    sparse = asked.model_copy(
        update={"compress": recipe("text-classification", {"method": "prune-unstructured", "pattern": "2:4"}).compress}
    )
    assert faults_in(sparse, str(tmp_path)) == [
        "compress 1, prune-unstructured: pattern 2:4 does not divide intermediate size of 50"
    ]


def test_only_a_language_model_has_a_cache() -> None:
    asked = recipe("text-classification")
    narrow = Quantize(format="int8-weights", cache="int8")
    assert any(
        "only a language model has a cache" in fault for fault in faults_in(asked.model_copy(update={"quantize": narrow}))
    )
    wide = Quantize(format="int8-weights")
    assert not any("cache" in fault for fault in faults_in(asked.model_copy(update={"quantize": wide})))
