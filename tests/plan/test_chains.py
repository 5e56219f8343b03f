"""Chains of steps nobody thought of: what holds of the facts along any recipe."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.models.facts import ModelFacts
from edgekit.plan.check import faults_of
from edgekit.plan.facts import facts_along
from edgekit.plan.recipes import recipe_model

SIZES = ("layers", "hidden_size", "heads", "kv_heads", "intermediate_size")


def maybe(**settings: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=settings)


def step(method: str, **settings: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return maybe(**settings).map(lambda given: {"method": method, **given})


LAYERS, HEADS, NEURONS = st.integers(1, 7), st.integers(1, 5), st.integers(1, 70)
ENCODER = st.one_of(
    step("distill", layers=LAYERS, heads=HEADS, neurons=NEURONS, width=st.integers(1, 40), hidden=st.sampled_from(["none", "skip", "last"])),
    step("distill", take=st.lists(st.integers(-1, 7), min_size=1, max_size=4), teacher=st.just("dense")),
    LAYERS.map(lambda layers: {"method": "prune-structured", "layers": layers}),
    st.just({"method": "prune-structured", "keep": 0.5}),
    st.just({"method": "prune-oneshot", "speedup": 2.0}),
    st.just({"method": "prune-vocabulary"}),
    st.sampled_from(["2:4", "3:7"]).map(lambda pattern: {"method": "prune-unstructured", "pattern": pattern}),
    st.just({"method": "quantize-aware"}),
)  # fmt: skip
DECODER = st.one_of(
    step("distill-decoder", layers=LAYERS, source=st.sampled_from(["rows", "sequence"])),
    LAYERS.map(lambda layers: {"method": "drop-blocks", "layers": layers}),
    NEURONS.map(lambda neurons: {"method": "prune-width", "neurons": neurons}),
    HEADS.map(lambda heads: {"method": "prune-width", "kv_heads": heads}),
    st.just({"method": "prune-unstructured", "pattern": "2:4"}),
)
KNOWN = ModelFacts(layers=6, hidden_size=32, heads=4, kv_heads=2, intermediate_size=64, tokenizer="WordPiece")


@settings(max_examples=150, deadline=None)
@given(
    task=st.sampled_from([("text-classification", ENCODER), ("text-generation", DECODER)]), data=st.data(), known=st.sampled_from([True, False])
)  # fmt: skip
def test_what_holds_along_every_chain(task: tuple[str, Any], data: st.DataObject, known: bool) -> None:
    steps = data.draw(st.lists(task[1], max_size=5))
    recipe = recipe_model().model_validate(
        {
            "schema": 1, "task": task[0], "model": {"id": "owner/name"}, "compress": steps,
            "data": {"train": "a", "validation": "b", "test": "c"},
        }
    )  # fmt: skip
    original = KNOWN if known else ModelFacts()
    along = facts_along(recipe, original, {})
    assert len(along) == len(steps) + 1
    for before, after in pairwise(along):
        assert after.pruned or not before.pruned, "what was pruned stays pruned"
        assert after.token_changes[: len(before.token_changes)] == before.token_changes
        for size in SIZES:  # no step makes a model larger, and none forgets what is known
            have, left = getattr(before, size), getattr(after, size)
            assert (left is not None and 0 <= left <= have) if have is not None else True
    faults = faults_of(recipe, [], original)
    assert all(fault.startswith("compress ") for fault in faults)
    assert len(set(faults)) == len(faults)
    alone = [recipe.model_copy(update={"compress": recipe.compress[: number + 1]}) for number in range(len(steps))]
    for number, shorter in enumerate(alone, 1):  # a step is judged by those before it, but for the one that has to be the last
        said = [fault for fault in faults if fault.startswith(f"compress {number},") and "put it last, once" not in fault]
        assert said == [fault for fault in faults_of(shorter, [], original) if fault.startswith(f"compress {number},")]
