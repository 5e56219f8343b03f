"""A language model's quality in a report: perplexity, and its relative change with the interval of paired texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.report.facts import read_facts
from edgekit.report.format import metric_change, metric_interval, metric_unit, metric_value, metric_words
from edgekit.report.grid import NOTHING
from edgekit.report.headline import headline, tiles
from edgekit.report.language import bandwidth
from edgekit.report.records import Quality
from edgekit.report.tables import variants_grid
from edgekit.report.verdicts import budgets, cautions
from edgekit.runtime.bench.statistics import paired_difference
from edgekit.tasks.decoders.text_generation import mean_probability
from tests.report.made_up import write_result


def evidence(generator: np.random.Generator, shift: float) -> np.ndarray:
    """(texts, 2): sums of logarithms over 50 tokens a text, `shift` lower for each token."""
    return np.stack([generator.normal(-150, 20, 80) - 50 * shift, np.full(80, 50.0)], axis=1)


def test_the_interval_of_the_ratio_is_of_paired_texts() -> None:
    generator = np.random.default_rng(5)
    before = evidence(generator, 0.0)
    after = before - np.stack([50 * generator.normal(0.03, 0.01, 80), np.zeros(80)], axis=1)
    found = paired_difference(before, after, 1, mean_probability)["ratio"]
    low, high = found["ci95"]
    assert low < found["value"] < high and found["value"] == pytest.approx(np.exp(-0.03), abs=0.005)
    assert high - low < 0.01, "texts differ by far more than the change does; pairing takes that out"
    lone = mean_probability(after) / mean_probability(before)
    assert found["value"] == pytest.approx(lone)


def test_the_same_answers_have_a_ratio_of_one_and_a_metric_of_zero_has_none() -> None:
    before = evidence(np.random.default_rng(5), 0.0)
    assert paired_difference(before, before, 1, mean_probability)["ratio"] == {"value": 1.0, "ci95": [1.0, 1.0]}
    assert paired_difference(before, before, 1, lambda rows: 0.0)["ratio"] is None


def test_perplexity_is_told_as_a_relative_change() -> None:
    quality = Quality("1/perplexity", 0.08, 80, -0.002, -0.0025, -0.0015, (0.08 / 0.082, 0.970, 0.980))
    assert metric_words(quality) == "perplexity" and metric_value(quality) == "12.5" and metric_unit(quality) == "%"
    assert metric_change(quality) == "+2.50" and metric_interval(quality) == "+2.04 to +3.09"


@pytest.mark.parametrize("metric", ["accuracy", "1/perplexity"])
def test_other_metrics_and_results_without_a_ratio_are_told_in_points(metric: str) -> None:
    quality = Quality(metric, 0.08, 80, -0.002, -0.0025, -0.0015)
    assert metric_words(quality) == metric and metric_value(quality) == "8.00%" and metric_unit(quality) == "points"
    assert metric_change(quality) == "-0.20" and metric_interval(quality) == "-0.25 to -0.15"


def test_the_page_says_perplexity(tmp_path: Path) -> None:
    facts = read_facts(write_result(tmp_path))
    quality = Quality("1/perplexity", 0.08, 80, -0.002, -0.0025, -0.0015, (0.08 / 0.082, 0.970, 0.980))
    facts = replace(facts, quality=quality, variants=tuple(replace(item, quality=quality) for item in facts.variants))
    assert "perplexity 12.5, +2.50% (95% interval +2.04 to +3.09%)" in headline(facts)
    assert tiles(facts)[-1].label == "% of perplexity, now 12.5"
    grid = variants_grid(facts)
    assert [column.unit for column in grid.columns if column.title == "change"] == ["%"]


def test_a_bundle_packed_without_the_ratio_takes_the_lineages(tmp_path: Path) -> None:
    folder = write_result(tmp_path)
    lineage = json.loads((folder / "lineage.json").read_text())
    lineage["variants"]["bundle"]["quality"]["ratio"] = {"value": 0.99, "ci95": [0.98, 1.0]}
    (folder / "lineage.json").write_text(json.dumps(lineage))
    assert read_facts(folder).quality.ratio == (0.99, 0.98, 1.0)


@pytest.mark.parametrize(("limit", "met"), [(0.024, False), (0.026, True)])
def test_the_budget_of_a_perplexity_is_its_relative_rise(tmp_path: Path, limit: float, met: bool) -> None:
    """In points it lost 0.2, which 2.4 would allow."""
    facts = read_facts(write_result(tmp_path))
    quality = Quality("1/perplexity", 0.08, 80, -0.002, -0.0025, -0.0015, (0.08 / 0.082, 0.970, 0.980))
    facts = replace(facts, quality=quality, accept={"max_quality_drop": limit})
    (budget,) = budgets(facts)
    assert budget.met is met and budget.what == "perplexity gained" and budget.asked == f"at most {limit * 100:g}%"
    assert budget.found == "+2.50% (+2.04 to +3.09)"
    (other,) = budgets(replace(facts, quality=replace(quality, metric="accuracy", ratio=None)))
    assert other.met is True and other.what == "accuracy lost" and other.found == "+0.20 points (+0.15 to +0.25)"


@pytest.mark.parametrize(("metric", "original", "met"), [
    ("span F1", 0.0, False), ("accuracy", 0.00004, False), ("Spearman", -0.2, False), ("span F1", 0.002, True), ("1/perplexity", 0.00001, True),
])  # fmt: skip
def test_a_budget_of_nothing_is_not_met(tmp_path: Path, metric: str, original: float, met: bool) -> None:
    quality = Quality(metric, original, 80, 0.0, 0.0, 0.0)
    facts = replace(read_facts(write_result(tmp_path)), quality=quality, accept={"max_quality_drop": 1.0})
    (budget,) = budgets(facts)
    assert budget.met is met
    assert ("there is nothing to lose" in budget.found) == (not met)


@pytest.mark.parametrize(("perplexity", "lost"), [(20_935.0, True), (12.5, False)])
def test_a_model_that_is_at_a_loss_with_the_texts_is_told_as_such(tmp_path: Path, perplexity: float, lost: bool) -> None:
    facts = read_facts(write_result(tmp_path / "result"))
    quality = Quality("1/perplexity", 1 / perplexity, 80, 0.0, 0.0, 0.0, (1.0, 0.99, 1.01))
    variants = tuple(replace(one, quality=quality) if one.name == "ort-fp32" else one for one in facts.variants)
    found = [one for one in cautions(replace(facts, variants=variants)) if "at a loss" in one.text]
    assert bool(found) == lost and all(one.grave and "20,935" in one.text for one in found)


@pytest.mark.parametrize(("share", "said"), [(3.29, "in caches"), (0.61, "61.00%"), (None, NOTHING.main)])
def test_no_share_of_more_than_all(share: float | None, said: str) -> None:
    assert bandwidth(share).main == said
