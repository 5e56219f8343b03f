"""Intervals that keep their promise, on data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.runtime.bench.statistics import ENOUGH_FOR_P99, centre_interval, paired_difference, ratio_interval, spread, summary

times = st.floats(0.01, 1000, allow_nan=False)
processes = st.lists(st.lists(times, min_size=1, max_size=40), min_size=1, max_size=6)


def simulated(
    generator: np.random.Generator, count: int, middle: float, between: np.ndarray, runs: int = 120
) -> list[np.ndarray]:
    return [middle * np.exp(shift + generator.normal(0, 0.08, runs)) for shift in between[:count]]


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_the_interval_holds_the_true_median_about_95_times_in_100(count: int) -> None:
    generator = np.random.default_rng(count)
    held = 0
    for trial in range(200):
        low, high = centre_interval(simulated(generator, count, 4.0, generator.normal(0, 0.05, count)), trial)
        held += low <= 4.0 <= high
    assert held >= 182


def test_ten_heavy_tailed_processes_too() -> None:
    generator = np.random.default_rng(3)
    held = 0
    for trial in range(200):
        low, high = centre_interval(simulated(generator, 10, 4.0, 0.05 * generator.standard_t(2, 10)), trial)
        held += low <= 4.0 <= high
    assert held >= 180


def test_the_interval_is_not_uselessly_wide() -> None:
    generator = np.random.default_rng(0)
    widths = []
    for trial in range(50):
        low, high = centre_interval(simulated(generator, 10, 1.0, generator.normal(0, 0.05, 10)), trial)
        widths.append(high - low)
    assert np.median(widths) < 4 * 2 * 1.96 * 0.05 / np.sqrt(10)


def test_a_slow_round_that_hits_both_variants_does_not_widen_their_ratio() -> None:
    generator = np.random.default_rng(0)
    rounds = generator.normal(0, 0.5, 10)
    slow, fast = (simulated(generator, 10, middle, rounds) for middle in (8.0, 2.0))
    found = ratio_interval(slow, fast, 1)
    apart = ratio_interval(slow, fast[:9], 1)
    assert found["paired"] and not apart["paired"]
    assert found["ci95"][0] <= 4.0 <= found["ci95"][1]
    assert found["ci95"][1] / found["ci95"][0] < 1.2 < apart["ci95"][1] / apart["ci95"][0]
    assert found["faster"]


def test_no_difference_is_called_faster_about_never() -> None:
    generator = np.random.default_rng(5)
    called = 0
    for trial in range(200):
        pair = [simulated(generator, 5, 1.0, generator.normal(0, 0.05, 5)) for _ in range(2)]
        called += ratio_interval(*pair, trial)["faster"]
    assert called <= 12


def test_slower_is_not_faster() -> None:
    assert not ratio_interval([[1.0] * 10] * 3, [[2.0] * 10] * 3, 1)["faster"]
    assert not ratio_interval([[1.0] * 10] * 3, [[1.0] * 10] * 3, 1)["faster"]


def test_neighbours_that_resemble_one_another_count_less() -> None:
    generator = np.random.default_rng(0)
    alone = np.exp(generator.normal(0, 0.1, 400))
    low, high = centre_interval([alone], 1)
    bursts = np.repeat(alone[:20], 20)
    wide_low, wide_high = centre_interval([bursts], 1)
    assert wide_high - wide_low > 2 * (high - low)


def test_constant_data_has_no_width() -> None:
    found = summary([[2.0] * 50] * 4, 1)
    assert found["p50_ms"] == pytest.approx(2.0)
    assert found["ci95_ms"] == pytest.approx([2.0, 2.0])
    assert ratio_interval([[3.0] * 9] * 4, [[1.5] * 9] * 4, 1)["ci95"] == pytest.approx([2.0, 2.0])
    assert spread([[2.0] * 50] * 4) == 0


def test_p99_only_with_enough_runs() -> None:
    few = summary([list(np.linspace(1, 2, ENOUGH_FOR_P99 - 1))], 1)
    enough = summary([list(np.linspace(1, 2, ENOUGH_FOR_P99))], 1)
    assert few["p99_ms"] is None
    assert enough["p99_ms"] == pytest.approx(1.99, abs=0.01)


def test_the_headline_is_the_median_of_medians() -> None:
    found = summary([[1.0] * 3, [5.0] * 1000, [2.0] * 3], 1)
    assert found["p50_ms"] == 2.0
    assert found["children_p50_ms"] == [1.0, 5.0, 2.0]
    assert found["n"] == 1006


@pytest.mark.parametrize("bad", [[], [[]], [[1.0], []], [[float("nan")]], [[float("inf"), 1.0]], [[0.0]], [[-1.0]]])
def test_what_is_no_timing_is_refused(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError):
        summary(bad, 1)


@given(processes, st.integers(0, 9))
def test_intervals_hold_the_headline_and_repeat_for_a_seed(children: list[list[float]], seed: int) -> None:
    found = summary(children, seed)
    low, high = found["ci95_ms"]
    assert 0 < low <= found["p50_ms"] <= high
    assert found == summary(children, seed)


@given(processes, st.floats(0.1, 10))
def test_a_ratio_scales_and_turns_around(children: list[list[float]], factor: float) -> None:
    other = [[factor * time for time in run] for run in children]
    there, back = ratio_interval(other, children, 1)["speedup"], ratio_interval(children, other, 1)["speedup"]
    assert there == pytest.approx(factor)
    assert there * back == pytest.approx(1)


def test_paired_difference_finds_a_known_loss() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for trial in range(100):
        base = (generator.random(2000) < 0.9).astype(float)
        other = np.where(generator.random(2000) < 0.05, 1 - base, base)
        truth = 0.05 * (0.1 - 0.9)
        low, high = paired_difference(base, other, trial)["ci95"]
        held += low <= truth <= high
    assert held >= 90


def test_paired_difference_counts_and_tests() -> None:
    base = np.array([1.0] * 12 + [0.0] * 4)
    other = np.array([1.0] * 2 + [0.0] * 10 + [0.0] * 3 + [1.0])
    found = paired_difference(base, other, 1)
    assert (found["gained"], found["lost"]) == (1, 10)
    assert found["difference"] == pytest.approx(-9 / 16)
    assert found["mcnemar_p"] == pytest.approx(0.01171875)
    assert found["ci95"][1] < 0


def test_paired_difference_of_the_same_and_of_real_scores() -> None:
    same = paired_difference(np.ones(50), np.ones(50), 1)
    assert same["ci95"] == [0.0, 0.0] and same["mcnemar_p"] == 1.0
    generator = np.random.default_rng(0)
    scores = generator.random(300)
    found = paired_difference(scores, scores + generator.normal(0.1, 0.05, 300), 1)
    assert found["mcnemar_p"] is None
    assert found["ci95"][0] < found["difference"] < found["ci95"][1]
    assert found["ci95"][0] > 0.08


def test_paired_difference_refuses_other_rows() -> None:
    for base, other in (
        (np.ones(3), np.ones(4)),
        (np.ones(0), np.ones(0)),
        (np.ones((2, 2)), np.ones((2, 2))),
        (np.ones(2), np.array([1, np.nan])),
    ):
        with pytest.raises(ValueError):
            paired_difference(base, other, 1)
