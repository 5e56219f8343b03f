"""prune-oneshot: the search against brute force, the table, snapshots against the model they make, and budgets."""

from __future__ import annotations

import copy
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgekit.compress.method import Work
from edgekit.compress.methods.prune_oneshot import Settings, neuron_levels, prune, run
from edgekit.compress.pruning import latency_table
from edgekit.compress.pruning.fisher import masked
from edgekit.compress.pruning.latency_table import Block, measured_table, multiplications_table
from edgekit.compress.pruning.refit import refit, solve_change
from edgekit.compress.pruning.snapshots import assemble, snapshots
from edgekit.compress.pruning.spdy import best_levels, search_levels
from edgekit.errors import BadInput
from edgekit.models.checkpoint import load
from edgekit.models.shapes import cut, shapes_of
from edgekit.tasks import find_task

TASK = find_task("text-classification")
HEADS, NEURONS = [[4, 3, 2, 1, 0]] * 3, [[64, 32, 8, 0]] * 3


def feeds() -> list[dict[str, torch.Tensor]]:
    made = []
    for number in range(6):
        ids = torch.randint(5, 60, (16, 9), generator=torch.Generator().manual_seed(number))
        mask = torch.ones_like(ids)
        mask[::3, 6:] = 0
        made.append({"input_ids": ids, "attention_mask": mask})
    return made


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(**feed).logits for feed in feeds()])


def settings(**asked: Any) -> Settings:
    return Settings(method="prune-oneshot", **{"multiple_of": 8, "trials": 10, **asked})


def quiet(done: float, total: float, text: str) -> None:
    assert 0 <= done <= total, text


def no_report(*_: Any) -> None:
    pass


@pytest.fixture
def made_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of blocks that follow from their sizes alone, in place of measured ones: 0.1 ms, and 1 ms for each 10,000 weights."""

    def time_of(chain: latency_table._Chain, block: Block) -> float:
        return 0.1 + 1e-4 * sum(math.prod(constant.dims) for constant in chain.constants)

    monkeypatch.setattr(latency_table, "_time", time_of)


@hypothesis_settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), share=st.floats(0.05, 1.0))
def test_the_dynamic_programme_finds_what_brute_force_finds(seed: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 5, 4)
    costs = [generator.random(count) for count in counts]
    prices = [generator.integers(0, 40, count).astype(float) for count in counts]
    budget = max(1.0, np.floor(share * sum(price.max() for price in prices)))
    every = list(itertools.product(*[range(count) for count in counts]))
    fitting = [
        pick for pick in every if sum(price[at] for price, at in zip(prices, pick, strict=True)) <= budget * (1 - 4 / 4000)
    ]
    found = best_levels(costs, prices, budget)
    if found is None:
        assert not fitting
        return
    total = sum(cost[at] for cost, at in zip(costs, found, strict=True))
    assert sum(price[at] for price, at in zip(prices, found, strict=True)) <= budget * (1 + 1e-9)
    assert not fitting or total <= min(sum(cost[at] for cost, at in zip(costs, pick, strict=True)) for pick in fitting) + 1e-12


def test_mutations_find_levels_that_the_errors_alone_do_not() -> None:
    costs, prices = [np.asarray([0.0, weight]) for weight in np.linspace(1.0, 2.0, 6)], [np.asarray([1.0, 0.5])] * 6
    asked = []

    def loss(levels: list[int]) -> float:
        asked.append(tuple(levels))
        return float(sum((number + 1) * level for number, level in enumerate(reversed(levels))))

    levels, lowest = search_levels(costs, prices, 4.6, loss, 60, np.random.default_rng(0), no_report)
    assert levels == [0, 0, 0, 1, 1, 1]
    assert lowest == 6.0
    assert len(asked) == len(set(asked)) <= 61


def test_levels_of_neurons() -> None:
    levels = neuron_levels(1536, 32)
    assert levels[0] == 1536 and levels[-1] == 0
    assert levels == sorted(set(levels), reverse=True)
    assert all(level % 32 == 0 for level in levels)
    assert neuron_levels(20, 32) == [20, 0]
    assert neuron_levels(0, 32) == [0]


def test_the_measured_table_is_kept_and_never_falls(tmp_path: Path) -> None:
    """Measured in earnest: whatever the clock says, these hold."""
    block = Block(hidden_size=32, head_size=8, tokens=9, layers=2)
    table = measured_table(block, [0, 2, 4], [0, 32, 64], tmp_path, no_report)
    for part, counts in ((table.attention, [0, 2, 4]), (table.feed_forward, [0, 32, 64])):
        assert list(part) == counts
        assert list(part.values()) == sorted(part.values())
        assert min(part.values()) > 0
    document = json.loads((tmp_path / "latency.json").read_text())
    document["heads"]["4"] = 1e9
    (tmp_path / "latency.json").write_text(json.dumps(document))
    assert measured_table(block, [4, 0, 2], [0, 32, 64], tmp_path, no_report).attention[4] == 1e9
    assert measured_table(block, [0, 4], [0, 32, 64], tmp_path, no_report).attention[4] < 1e9


def test_the_table_says_how_far_its_two_measurements_lie_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block, levels = Block(hidden_size=32, head_size=8, tokens=9, layers=2), ([0, 2], [0, 32, 64])
    # nothing but the call; then five levels there, and back from the last, a fifth slower on three of them
    clock = iter([1.0, *(3.0, 5.0, 3.0, 7.0, 9.0), *(9.0, 8.2, 3.4, 5.8, 3.0)])
    monkeypatch.setattr(latency_table, "_time", lambda chain, block: next(clock))
    table = measured_table(block, *levels, tmp_path, no_report)
    assert table.differs == pytest.approx(0.2)
    assert (table.attention, table.feed_forward) == ({0: 1.0, 2: 2.0}, {0: 1.0, 32: 3.0, 64: 4.0})
    assert measured_table(block, *levels, tmp_path, no_report) == table, "a resumed run knows it too"
    assert multiplications_table(block, *levels).differs == 0


def test_gated_blocks_are_timed_too(tmp_path: Path) -> None:
    table = measured_table(Block(32, 8, 9, 1, gated=True), [0, 1], [0, 32], tmp_path, no_report)
    assert 0 < table.feed_forward[0] <= table.feed_forward[32]
    assert multiplications_table(Block(32, 8, 9, 1, gated=True), [1], [2]).feed_forward == {2: 9.0 * 32 * 3 * 2}
    assert multiplications_table(Block(32, 8, 9, 1), [1], [2]).attention == {1: 9.0 * (4 * 32 * 8 + 2 * 9 * 8)}


def test_a_snapshots_error_is_that_of_its_block(tiny_model: Path) -> None:
    model = load(tiny_model)
    blocks = snapshots(model, HEADS, NEURONS, feeds(), 0.01, no_report)
    assert torch.equal(logits(assemble(model, blocks, [0] * 6)), logits(model))
    seen: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    made = assemble(model, blocks, [0, 0, 0, 2, 0, 0])
    for dense, one in ((True, model), (False, made)):
        handle = one.bert.encoder.layer[0].output.dense.register_forward_hook(
            lambda _, __, output, dense=dense: seen[dense].append(output.detach())
        )
        logits(one)
        handle.remove()
    real = [feed["attention_mask"].bool() for feed in feeds()]
    wanted, given = (torch.cat([part[keep] for part, keep in zip(seen[dense], real, strict=True)]) for dense in (True, False))
    share = (wanted - given).square().sum() / (wanted - wanted.mean(dim=0)).square().sum()
    assert blocks[3][2].error == pytest.approx(float(share), rel=1e-3)
    for block in blocks:
        errors = [level.error for level in block]
        assert errors == sorted(errors)
        assert errors[0] == 0.0
        assert errors[-1] == pytest.approx(1.0, abs=1e-3)


def test_updates_beat_plain_removal(tiny_model: Path) -> None:
    model = load(tiny_model)
    blocks = snapshots(model, HEADS, NEURONS, feeds(), 0.01, no_report)
    levels = [1, 1, 1, 2, 2, 2]
    made, plain = assemble(model, blocks, levels), copy.deepcopy(model)
    kept = [blocks[number][level].kept for number, level in enumerate(levels)]
    cut(plain, kept[:3], kept[3:])
    assert (logits(made) - logits(model)).norm() < 0.7 * (logits(plain) - logits(model)).norm()
    zeros = [
        torch.tensor([float(unit in one) for unit in range(len(block[0].kept))])
        for one, block in zip(kept, blocks, strict=True)
    ]
    with masked(model, zeros[:3], zeros[3:]):
        assert logits(plain) == pytest.approx(logits(model), abs=1e-5)


def test_refit_brings_the_blocks_closer_and_not_on_the_fitted_rows_alone(tiny_model: Path) -> None:
    model = load(tiny_model)
    made = assemble(model, snapshots(model, HEADS, NEURONS, feeds(), 0.01, no_report), [2, 2, 2, 2, 2, 2])
    before = (logits(made) - logits(model)).norm()
    errors = refit(made, model, feeds(), no_report)
    assert len(errors) == 6
    assert all(after <= first for first, after in errors)
    assert (logits(made) - logits(model)).norm() < before


def test_a_change_is_ridge_regression_and_none_where_held_rows_gain_nothing() -> None:
    generator = np.random.default_rng(0)
    parts, true = generator.normal(size=(200, 5)) + 1.0, generator.normal(size=(5, 3))
    held = np.arange(200) % 5 == 4
    change, shift = solve_change(parts, parts @ true + 2.0, held, free_bias=True)
    assert change == pytest.approx(true, abs=0.02)
    assert shift == pytest.approx(np.full(3, 2.0), abs=0.1)
    noise = np.where(held[:, None], -(parts @ true), parts @ true)
    change, shift = solve_change(parts, noise, held, free_bias=False)
    assert not change.any() and not shift.any()


@pytest.mark.usefixtures("made_times")
@pytest.mark.parametrize(("asked", "most"), [({"keep": 0.5}, 23_000), ({"speedup": 1.5}, 26_000)])
def test_a_run_meets_its_budget_and_says_what_it_did(
    tiny_model: Path, tiny_artifact: Path, tmp_path: Path, asked: dict[str, float], most: int
) -> None:
    work = Work(
        tiny_model, tiny_model, tiny_model, tiny_artifact, tmp_path / "out", tmp_path, "text-classification", 32, 7, quiet
    )
    facts = run(work, settings(**asked))
    made = load(tmp_path / "out")
    assert facts["cost"] <= asked.get("keep", 1 / asked.get("speedup", 1.0)) + 1e-6
    assert ("times_differ" in facts) == ("speedup" in asked)
    assert [shape["neurons"] for shape in facts["shapes"]["after"]] == [shape.neurons for shape in shapes_of(made)]
    assert facts["parameters"] == sum(value.numel() for value in made.parameters()) < most
    assert all(shape.neurons % 8 == 0 for shape in shapes_of(made))
    json.dumps(facts)


def test_the_same_call_gives_the_same_model_and_leaves_the_first_alone(tiny_model: Path, tmp_path: Path) -> None:
    model = load(tiny_model)
    before = copy.deepcopy(model.state_dict())
    made = [prune(model, TASK, feeds(), settings(keep=0.5), quiet, scratch=tmp_path) for _ in range(2)]
    assert made[0][1] == made[1][1]
    for one, other in zip(made[0][0].parameters(), made[1][0].parameters(), strict=True):
        assert torch.equal(one, other)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_pruned_model_can_be_pruned_again(tiny_model: Path, tmp_path: Path) -> None:
    model = load(tiny_model)
    cut(model, [[0, 1], [], [2]], [[0, 1, 2, 3], list(range(16)), []])
    made, facts = prune(model, TASK, feeds(), settings(keep=0.6), quiet, scratch=tmp_path)
    assert facts.after[1].heads == 0 and facts.after[2].neurons == 0
    assert torch.isfinite(logits(made)).all()


@pytest.mark.parametrize("kind", ["distilbert", "electra", "mpnet", "deberta-v2", "modernbert"])
def test_other_families(kind: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    more: dict[str, Any] = {
        "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
        "deberta-v2": {**sizes, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
        "modernbert": {**sizes, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2},
    }
    config = transformers.AutoConfig.for_model(kind, vocab_size=80, num_labels=4, **more.get(kind, sizes))
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    made, facts = prune(model, TASK, feeds(), settings(keep=0.5, trials=2), quiet, scratch=tmp_path)
    assert facts.cost <= 0.5
    assert facts.after == tuple(shapes_of(made)) != facts.before
    assert (logits(made) - logits(model)).norm() < 0.5 * (logits(model) - logits(model).mean(dim=0)).norm()


@pytest.mark.usefixtures("made_times")
def test_budgets_and_rows_that_cannot_be(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"speedup = 900 cannot be met: [\d.]+ is the most.*norms and residual sums of 3 layers"):
        prune(load(tiny_model), TASK, feeds(), settings(speedup=900), quiet, scratch=tmp_path)
    empty = [{name: torch.zeros_like(value) for name, value in feeds()[0].items()}]
    with pytest.raises(BadInput, match="16 calibration rows are all padding"):
        prune(load(tiny_model), TASK, empty, settings(keep=0.5), quiet, scratch=tmp_path)
    few = [{name: value[:2, :3] for name, value in feeds()[0].items()}]
    with pytest.raises(BadInput, match="singular"):
        prune(load(tiny_model), TASK, few, settings(keep=0.5, damping=0.0), quiet, scratch=tmp_path)


@pytest.mark.parametrize(
    "wrong", [{}, {"keep": 0.5, "speedup": 2.0}, {"speedup": 1.0}, {"keep": 1.0}, {"speedup": 2.0, "rows": 0}]
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)
