"""Heads that a softmax over labels would answer wrongly, and tags that a reading as BIO would lose: refused by name, not answered."""

from __future__ import annotations

import pytest

from edgekit.models.heads import head_fault
from edgekit.runtime.processors.token_classification import spans, tag_fault


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"id2label": {"0": "no", "1": "yes"}}, None),
        ({"id2label": {"0": "no", "1": "yes"}, "problem_type": "single_label_classification"}, None),
        ({}, None),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": "multi_label_classification"}, "problem_type"),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": "regression"}, "problem_type"),
        ({"id2label": {"0": "LABEL_0"}}, "id2label"),
        ({"num_labels": 1}, "id2label"),
    ],
)
def test_a_head_is_classes_or_refused(config: dict[str, object], names: str | None) -> None:
    fault = head_fault(config)
    assert (fault is None) if names is None else (fault is not None and f"config.json, {names}" in fault)


@pytest.mark.parametrize("labels", [["O", "B-loc", "I-loc"], ["O", "I-loc"], [], ["O", "B-x-y", "I-x-y"]])
def test_tags_of_entities(labels: list[str]) -> None:
    assert tag_fault(labels) is None


@pytest.mark.parametrize("odd", ["NOUN", "S-LOC", "E-LOC", "L-LOC", "U-LOC", "b-loc", "B_LOC", "LOC-B", "B-", "LABEL_0", "o"])
def test_tags_that_would_be_lost(odd: str) -> None:
    fault = tag_fault(["O", "B-loc", odd])
    assert fault is not None and repr(odd) in fault
    assert spans([odd]) in ([], [("", 0, 1)]), "for the reason that they are no entities to the runtime"
