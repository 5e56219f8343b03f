"""What a classifier's answers say of its labels."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.bench.doubts import label_doubts

THREE = ["a"] * 40 + ["b"] * 30 + ["c"] * 30


def right(**shares: float) -> np.ndarray:
    """Of each label's rows so many are right, the first ones."""
    return np.concatenate([np.arange(THREE.count(label)) < shares[label] * THREE.count(label) for label in "abc"]).astype(float)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"a": 0.05, "b": 0.1, "c": 0.05}, "right on 7.0% of 100 rows, where always saying 'a' would be right on 40.0%"),
        ({"a": 0.9, "b": 0.0, "c": 0.03}, "hardly any row with the label 'b' (0 of 30), 'c' (1 of 30)"),
        ({"a": 1.0, "b": 1.0, "c": 0.0}, "'c' (0 of 30)"),
    ],
)
def test_labels_that_are_numbered_otherwise_are_doubted(shares: dict[str, float], said: str) -> None:
    (doubt,) = label_doubts(right(**shares), THREE)
    assert said in doubt and "--label" in doubt


@pytest.mark.parametrize(
    "shares", [{"a": 0.9, "b": 0.8, "c": 0.85}, {"a": 0.4, "b": 0.3, "c": 0.4}, {"a": 0.9, "b": 0.2, "c": 0.1}]
)
def test_a_model_that_is_merely_weak_is_not(shares: dict[str, float]) -> None:
    assert label_doubts(right(**shares), THREE) == []


def test_few_rows_and_one_label_say_nothing() -> None:
    assert label_doubts(np.zeros(19), ["a", *["b"] * 18]) == [] == label_doubts(np.zeros(50), ["a"] * 50)
