"""What benchmarks call variants and scenarios where a person reads of them."""

from __future__ import annotations

import pytest

from edgekit.plan.plan import BASELINE, BUNDLE, STOCK
from edgekit.runtime.bench.prompts import scenario_names
from edgekit.runtime.bench.protocol import LENGTHS, MEMORY
from edgekit.runtime.bench.words import GRAPH, TEXT, scenario_words, variant_words


@pytest.mark.parametrize("name", [TEXT, GRAPH, *map(str, LENGTHS), *scenario_names(16)])
def test_every_scenario_has_words(name: str) -> None:
    assert scenario_words(name) != name and " " in scenario_words(name)


@pytest.mark.parametrize("name", ["eager-fp32", BASELINE, STOCK, BUNDLE, MEMORY, "after-0-none", "after-2-prune-structured"])
def test_every_variant_has_words(name: str) -> None:
    assert variant_words(name) != name and "none" not in variant_words(name)


def test_what_nobody_knows_stays() -> None:
    assert (scenario_words("other"), variant_words("other")) == ("other", "other")
