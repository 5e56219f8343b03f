"""Heads that a softmax over labels would answer wrongly: refused by name, not answered."""

from __future__ import annotations

import pytest

from edgekit.models.heads import head_fault


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
