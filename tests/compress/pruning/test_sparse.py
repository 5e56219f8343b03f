"""Masks of single weights: how many stay, and which."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compress.pruning.sparse import (
    Pattern,
    compressed_bytes,
    kept_by_row,
    kept_of,
    kept_overall,
    parse_pattern,
    wanda_scores,
)
from edgekit.errors import BadInput


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), sparsity=st.floats(0.01, 0.99))
def test_the_lowest_scores_of_all_arrays_go(seed: int, sparsity: float) -> None:
    generator = np.random.default_rng(seed)
    scores = [generator.random((5, 4)), generator.random((3, 7))]
    masks = kept_overall(scores, sparsity)
    gone = np.concatenate([score[~kept] for score, kept in zip(scores, masks, strict=True)])
    stay = np.concatenate([score[kept] for score, kept in zip(scores, masks, strict=True)])
    assert [kept.shape for kept in masks] == [(5, 4), (3, 7)]
    assert len(gone) == round(sparsity * 41)
    assert not len(gone) or not len(stay) or gone.max() <= stay.min()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), sparsity=st.floats(0.01, 0.99))
def test_each_row_by_itself(seed: int, sparsity: float) -> None:
    scores = np.random.default_rng(seed).random((6, 20)) * np.logspace(0, 5, 6)[:, None]
    kept = kept_by_row(scores, sparsity)
    assert (kept.sum(axis=1) == 20 - round(sparsity * 20)).all()
    for score, row in zip(scores, kept, strict=True):
        assert row.all() or not row.any() or score[~row].max() <= score[row].min()


@pytest.mark.parametrize("text", ["2:4", "1:4", "4:8"])
def test_n_of_m_keeps_the_best_of_each_group(text: str) -> None:
    pattern = parse_pattern(text)
    scores = np.random.default_rng(1).random((5, 24))
    kept = kept_of(scores, pattern).reshape(-1, pattern.group)
    assert (kept.sum(axis=1) == pattern.keep).all()
    for score, row in zip(scores.reshape(-1, pattern.group), kept, strict=True):
        assert set(np.flatnonzero(row)) == set(np.argsort(score)[-pattern.keep :])
    assert pattern.sparsity == 1 - pattern.keep / pattern.group


def test_wanda_is_magnitude_times_the_norm_of_the_input() -> None:
    generator = np.random.default_rng(2)
    weight, inputs = generator.normal(size=(4, 6)), generator.normal(size=(50, 6))
    wanted = np.abs(weight) * np.linalg.norm(inputs, axis=0)
    assert wanda_scores(weight, inputs.T @ inputs) == pytest.approx(wanted, rel=1e-12)


def test_zeros_compress() -> None:
    weight = np.random.default_rng(3).normal(size=(64, 64))
    half = np.where(kept_by_row(np.abs(weight), 0.5), weight, 0.0)
    assert compressed_bytes([half]) < 0.8 * compressed_bytes([weight])
    assert compressed_bytes([np.zeros((64, 64))]) < 100


@pytest.mark.parametrize("text", ["", "4", "4:2", "2:2", "0:4", "2:4:8", "a:b", "-1:4"])
def test_patterns_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match="N:M"):
        parse_pattern(text)


def test_a_group_that_does_not_divide_the_layer() -> None:
    with pytest.raises(BadInput, match="6 inputs does not divide into groups of 4"):
        kept_of(np.ones((2, 6)), Pattern(0.5, 2, 4))
