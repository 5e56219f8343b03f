"""OBS linear algebra against brute force: exact least squares for what stays."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compress.methods.prune_unstructured import pruned_layer
from edgekit.compress.pruning.inverse_hessian import damped_inverse, remove_groups, sparsegpt, squared_error
from edgekit.compress.pruning.sparse import Pattern, kept_of, kept_overall, wanda_scores
from edgekit.errors import BadInput


def layer(seed: int, out: int = 6, width: int = 16, rows: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Weights (out, width) and inputs (rows, width) that lean on one another."""
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(rows, width)) @ (np.eye(width) + 0.4 * generator.normal(size=(width, width)))
    return generator.normal(size=(out, width)), mixed


def refitted(weight: np.ndarray, inputs: np.ndarray, free: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The row `fixed` with its entries at `free` chosen to come closest to the outputs of `weight`."""
    found = fixed.copy()
    found[~free & (fixed == 0)] = 0.0
    rest = inputs @ (weight - np.where(free, 0.0, fixed))
    found[free] = np.linalg.lstsq(inputs[:, free], rest, rcond=None)[0]
    return found


def by_hand(weight: np.ndarray, inputs: np.ndarray, pattern: Pattern, block: int) -> np.ndarray:
    """SparseGPT by its definition: at each removed weight, the columns to its right are fitted anew by least squares."""
    left = weight.copy()
    columns = weight.shape[1]
    for column in range(columns):
        span = pattern.group or block
        if column % span == 0:
            tail = [np.linalg.inv(inputs[:, at:].T @ inputs[:, at:])[0, 0] for at in range(column, min(column + span, columns))]
            scores = left[:, column : column + span] ** 2 / np.asarray(tail)
            kept = kept_of(scores, pattern) if pattern.group else kept_overall([scores], pattern.sparsity)[0]
        for row in np.flatnonzero(~kept[:, column % span]):
            fixed = left[row].copy()
            fixed[column] = 0.0
            left[row] = refitted(weight[row], inputs, np.arange(columns) > column, fixed)
    return left


@pytest.mark.parametrize("pattern", [Pattern(0.5, 2, 4), Pattern(0.75, 1, 4), Pattern(0.4)])
@pytest.mark.parametrize("block", [4, 8, 16])
def test_sparsegpt_is_what_its_definition_says(pattern: Pattern, block: int) -> None:
    weight, inputs = layer(0)
    found = sparsegpt(weight, inputs.T @ inputs, pattern, damping=0.0, block=block)
    assert found == pytest.approx(by_hand(weight, inputs, pattern, block), abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), pattern=st.sampled_from([Pattern(0.5), Pattern(0.7), Pattern(0.5, 2, 4)]))
def test_sparsegpt_never_errs_more_than_masks_alone(seed: int, pattern: Pattern) -> None:
    weight, inputs = layer(seed, 24, 32, 200)
    hessian = inputs.T @ inputs
    errors = {}
    for how in ("sparsegpt", "wanda", "magnitude"):
        found, _ = pruned_layer(weight, hessian, how, pattern, 0.01)
        assert (found == 0).mean() == pytest.approx(pattern.sparsity, abs=0.02)
        errors[how] = float(np.square(inputs @ (found - weight).T).sum())
        assert squared_error(found - weight, hessian) == pytest.approx(errors[how], rel=1e-8)
    assert errors["sparsegpt"] <= min(errors["wanda"], errors["magnitude"]) * (1 + 1e-9)


def test_sparsegpt_itself_is_better_on_average() -> None:
    pattern, shares = Pattern(0.5, 2, 4), []
    for seed in range(20):
        weight, inputs = layer(seed, 24, 32, 200)
        hessian = inputs.T @ inputs
        plain = weight * kept_of(wanda_scores(weight, hessian), pattern)
        found = sparsegpt(weight, hessian, pattern, damping=0.01)
        shares.append(squared_error(found - weight, hessian) / squared_error(plain - weight, hessian))
    assert np.mean(shares) < 0.7


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999), size=st.sampled_from([1, 2, 4]), together=st.sampled_from([1, 2]))
def test_what_stays_after_removals_is_the_least_squares_fit(seed: int, size: int, together: int) -> None:
    weight, inputs = layer(seed)
    groups = 16 // size
    levels = [groups, groups - 1, groups // 2, 1, 0]
    last = -1.0
    found = list(remove_groups(weight, inputs.T @ inputs, size, levels, damping=0.0, together=together))
    assert [len(level.kept) for level in found] == levels
    for level in found:
        columns = (level.kept[:, None] * size + np.arange(size)).ravel()
        best = np.linalg.lstsq(inputs[:, columns], inputs @ weight.T, rcond=None)[0].T if len(columns) else np.zeros((6, 0))
        assert level.weight == pytest.approx(best, abs=1e-7)
        error = float(np.square(inputs @ weight.T - inputs[:, columns] @ best.T).sum())
        assert level.error == pytest.approx(error, rel=1e-6, abs=1e-7)
        assert level.error >= last - 1e-7
        last = level.error


@pytest.mark.parametrize("damping", [0.0, 0.01, 0.5])
def test_a_levels_error_is_the_layers_own_whatever_the_damping(damping: float) -> None:
    weight, inputs = layer(3)
    inputs[:, 6] = 0.0
    for level in remove_groups(weight, inputs.T @ inputs, 2, [7, 4, 2, 0], damping=damping, together=2):
        columns = (level.kept[:, None] * 2 + np.arange(2)).ravel()
        error = float(np.square(inputs @ weight.T - inputs[:, columns] @ level.weight.T).sum())
        assert level.error == pytest.approx(error, rel=1e-9, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 9999), size=st.sampled_from([1, 2]))
def test_each_removal_is_the_cheapest_one(seed: int, size: int) -> None:
    weight, inputs = layer(seed, 3, 8, 60)
    kept = list(range(8 // size))
    for level in list(remove_groups(weight, inputs.T @ inputs, size, range(8 // size - 1, -1, -1), damping=0.0)):
        errors = {}
        for group in kept:
            columns = [other * size + offset for other in kept if other != group for offset in range(size)]
            best = np.linalg.lstsq(inputs[:, columns], inputs @ weight.T, rcond=None)[0]
            errors[group] = np.square(inputs @ weight.T - inputs[:, columns] @ best).sum()
        kept.remove(min(errors, key=lambda group: errors[group]))
        assert level.kept.tolist() == kept


def test_one_removal_is_the_best_of_all_subsets() -> None:
    weight, inputs = layer(5, 3, 6, 40)
    one = next(iter(remove_groups(weight, inputs.T @ inputs, 1, [5], damping=0.0)))
    every = itertools.combinations(range(6), 5)
    fits = [np.linalg.lstsq(inputs[:, list(kept)], inputs @ weight.T, rcond=None)[1].sum() for kept in every]
    assert one.error == pytest.approx(min(fits), rel=1e-8)


def test_a_damped_inverse_is_one_and_dead_inputs_do_no_harm() -> None:
    weight, inputs = layer(7)
    inputs[:, 3] = 0.0
    hessian = inputs.T @ inputs
    diagonal = np.diag(hessian)
    mean = diagonal[diagonal > 0].mean()
    damped = hessian + 0.01 * mean * np.eye(16)
    damped[3, 3] += mean
    assert damped_inverse(hessian, 0.01) @ damped == pytest.approx(np.eye(16), abs=1e-9)
    found = sparsegpt(weight, hessian, Pattern(0.5), damping=0.0)
    assert np.isfinite(found).all()
    assert (found[:, 3] == 0).all()
    first = next(iter(remove_groups(weight, hessian, 1, [15], damping=0.0)))
    assert first.error == pytest.approx(0.0, abs=1e-9)


def test_hessians_that_cannot_be_inverted() -> None:
    _, inputs = layer(8, rows=5)
    with pytest.raises(BadInput, match="singular: 16 inputs"):
        damped_inverse(inputs.T @ inputs, 0.0)
    assert np.isfinite(damped_inverse(inputs.T @ inputs, 0.01)).all()
    with pytest.raises(BadInput, match="all zero"):
        damped_inverse(np.zeros((4, 4)), 0.01)
    with pytest.raises(BadInput, match="not finite"):
        damped_inverse(np.full((4, 4), np.nan), 0.01)
