"""Structured pruning against definitions: importance by autograd, search by brute force, least squares, physical cuts."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compress.method import Work
from edgekit.compress.methods.prune_structured import Settings, run
from edgekit.compress.pruning.cost import UnitCosts, reads_one_token, unit_costs
from edgekit.compress.pruning.fisher import Gradients, choose, gradients, masked, rearrange
from edgekit.compress.pruning.rescale import fold_scales, solve_scales
from edgekit.compress.pruning.whole_layers import drop_layers
from edgekit.errors import BadInput
from edgekit.models.checkpoint import load, save
from edgekit.models.shapes import LayerShape, cut, keep_layers, shapes_of
from edgekit.tasks import encoder_task

TASK = encoder_task("text-classification")
SHAPE = LayerShape(heads=4, head_size=8, neurons=64)


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    ids = torch.randint(5, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return ids, mask, torch.tensor([0, 1, 2])


def logits(model: Any) -> torch.Tensor:
    ids, mask, _ = batch()
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, attention_mask=mask).logits
    return found


def test_gradients_are_those_of_each_row(tiny_model: Path) -> None:
    model = load(tiny_model)
    ids, mask, labels = batch()
    found = gradients(model, TASK, [SHAPE] * 3, [({"input_ids": ids, "attention_mask": mask}, labels)], 0, lambda done: None)
    step = 1e-2
    for unit in (0, 3):
        ones = [torch.ones(4, dtype=torch.float32) for _ in range(3)]
        values = []
        for sign in (1, -1):
            heads = copy.deepcopy(ones)
            heads[1][unit] += sign * step
            with masked(model, heads, [torch.ones(64)] * 3), torch.no_grad():
                out = model(input_ids=ids, attention_mask=mask).logits.double()
            values.append(torch.nn.functional.cross_entropy(out, labels, reduction="none").numpy())
        numeric = (values[0] - values[1]) / (2 * step)
        assert found.heads[1][:, unit] == pytest.approx(numeric, abs=2e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), budget=st.floats(0.5, 30))
def test_the_search_is_optimal_and_never_leaves_the_budget(seed: int, budget: float) -> None:
    generator = np.random.default_rng(seed)
    found = Gradients([generator.normal(size=(5, 2)) for _ in range(2)], [generator.normal(size=(5, 3)) for _ in range(2)])
    pick = choose(found, UnitCosts((3.0, 3.0), (1.0, 1.0)), budget=budget, multiple=1)
    heads, neurons = np.concatenate(pick.heads), np.concatenate(pick.neurons)
    assert heads.sum() * 3.0 + neurons.sum() <= budget + 1e-6
    score = [np.concatenate([(part**2).sum(0) for part in parts]) for parts in (found.heads, found.neurons)]
    kept = score[0][heads].sum() + score[1][neurons].sum()
    best = max(
        score[0][np.array(one, dtype=bool)].sum() + score[1][np.array(other, dtype=bool)].sum()
        for one in itertools.product([0, 1], repeat=4)
        for other in itertools.product([0, 1], repeat=6)
        if sum(one) * 3.0 + sum(other) <= budget
    )
    assert kept == pytest.approx(best)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), multiple=st.sampled_from([2, 4, 8]), budget=st.floats(5, 60))
def test_neurons_come_in_blocks(seed: int, multiple: int, budget: float) -> None:
    generator = np.random.default_rng(seed)
    found = Gradients([generator.normal(size=(5, 2)) for _ in range(2)], [generator.normal(size=(5, 16)) for _ in range(2)])
    pick = choose(found, UnitCosts((3.0, 3.0), (1.0, 1.0)), budget=budget, multiple=multiple)
    assert all(layer.sum() % multiple == 0 for layer in pick.neurons)
    assert sum(layer.sum() for layer in pick.heads) * 3.0 + sum(layer.sum() for layer in pick.neurons) <= budget + 1e-6


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), budget=st.floats(1, 40))
def test_where_a_unit_costs_little_it_stays(seed: int, budget: float) -> None:
    """Layers that differ in their costs: the budget holds, and a unit that is cheaper and matters more than a kept one stays too."""
    generator = np.random.default_rng(seed)
    found = Gradients([generator.normal(size=(5, 2)) for _ in range(2)], [generator.normal(size=(5, 16)) for _ in range(2)])
    costs = UnitCosts((3.0, 2.5), (1.0, 0.1))
    pick = choose(found, costs, budget=budget, multiple=1)
    assert costs.of([kept.sum() for kept in pick.heads], [kept.sum() for kept in pick.neurons]) <= budget + 1e-6
    first, last = ((gradient**2).sum(axis=0) for gradient in found.neurons)
    if pick.neurons[0].any() and not pick.neurons[1].all():
        assert last[~pick.neurons[1]].max() / 0.1 <= first[pick.neurons[0]].min() / 1.0 + 1e-9


def test_a_classifier_reads_one_token(tiny_model: Path) -> None:
    model, (ids, mask, _) = load(tiny_model), batch()
    feed = {"input_ids": ids, "attention_mask": mask}
    assert reads_one_token(model, TASK, feed)
    with torch.no_grad():
        alone = model(**feed).logits
    assert torch.equal(alone, model(**feed).logits.detach()), "it leaves no hook"


def test_what_reads_all_tokens_pays_for_them(tiny_model: Path) -> None:
    words, (ids, mask, _) = encoder_task("token-classification"), batch()
    model = load(tiny_model, words.auto)
    assert not reads_one_token(model, words, {"input_ids": ids, "attention_mask": mask})
    one, every = (
        unit_costs(model, [SHAPE] * 3, 12.0, one_token=chosen, measured=False, scratch=Path()) for chosen in (True, False)
    )
    assert one.neurons == (*every.neurons[:2], every.neurons[2] / 3) and one.heads[:2] == every.heads[:2]
    assert every.heads[0] - one.heads[2] == pytest.approx(8 * 32 * 8), (
        "the output projection of twelve tokens against one, which counts as four"
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), units=st.integers(2, 12))
def test_rearranging_never_hurts_and_keeps_the_count(seed: int, units: int) -> None:
    generator = np.random.default_rng(seed)
    gradient = generator.normal(size=(20, units)) @ generator.normal(size=(units, units))
    kept = generator.random(units) < 0.5
    again = rearrange(kept, gradient)

    def objective(mask: np.ndarray) -> float:
        return float((gradient[:, ~mask].sum(axis=1) ** 2).sum())

    assert again.sum() == kept.sum()
    assert objective(again) <= objective(kept) * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("size", [1, 4])
def test_scales_are_the_least_squares_ones(size: int) -> None:
    """With as many clean tokens as it takes, the true scales come back."""
    generator = np.random.default_rng(0)
    parts, weights = generator.normal(size=(400, 3 * size)), generator.normal(size=(3 * size, 6))
    true = np.array([1.5, 0.5, 1.2])
    rest = (parts * np.repeat(true - 1, size)) @ weights
    assert solve_scales(parts, weights, rest, size) == pytest.approx(true, abs=5e-3)


def test_scales_stay_at_one_where_nothing_helps() -> None:
    generator = np.random.default_rng(0)
    parts, weights = generator.normal(size=(60, 30)), generator.normal(size=(30, 4))
    rest = generator.normal(size=(60, 4)) * 1e-9
    assert solve_scales(parts, weights, rest, 1) == pytest.approx(np.ones(30), abs=1e-6)


HEADS = [[0, 2], [], [1, 2, 3]]
NEURONS = [list(range(32)), list(range(16, 64)), []]


def test_a_physical_cut_equals_a_mask(tiny_model: Path) -> None:
    model = load(tiny_model)
    heads = [torch.tensor([float(unit in kept) for unit in range(4)]) for kept in HEADS]
    neurons = [torch.tensor([float(unit in kept) for unit in range(64)]) for kept in NEURONS]
    with masked(model, heads, neurons):
        wanted = logits(model)
    cut(model, HEADS, NEURONS)
    assert torch.allclose(logits(model), wanted, atol=1e-5)
    assert [(shape.heads, shape.neurons) for shape in shapes_of(model)] == [(2, 32), (0, 48), (3, 0)]


def test_a_pruned_checkpoint_reloads_in_one_call(tiny_model: Path, tmp_path: Path) -> None:
    model = load(tiny_model)
    cut(model, HEADS, NEURONS)
    keep_layers(model, [0, 2])
    save(model, tmp_path / "a", tokenizer_files_from=tiny_model)
    again = load(tmp_path / "a")
    assert torch.allclose(logits(again), logits(model), atol=1e-6)
    assert shapes_of(again) == shapes_of(model)
    save(again, tmp_path / "b", tokenizer_files_from=tmp_path / "a")
    for name in ("model.safetensors", "config.json", "edgekit.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_cut_model_still_trains_and_exports(tiny_model: Path, tmp_path: Path) -> None:
    from edgekit.exporter.encoder import export

    model = load(tiny_model)
    cut(model, HEADS, NEURONS)
    save(model, tmp_path / "pruned", tokenizer_files_from=tiny_model)
    (tmp_path / "onnx").mkdir()
    made = export(tmp_path / "pruned", tmp_path / "onnx", task="text-classification", max_length=32)
    assert made["difference_fused"] <= made["tolerance"]
    assert made["operators"]["MultiHeadAttention"] == 2, "uneven heads fuse layer by layer; a layer without heads has none"


def test_rescaling_lowers_the_error_of_every_block(tiny_model: Path) -> None:
    dense, pruned = load(tiny_model), load(tiny_model)
    cut(pruned, [[0, 1, 3]] * 3, [list(range(40))] * 3)
    ids, mask, _ = batch()
    many = [
        {
            "input_ids": torch.randint(5, 60, (16, 9), generator=torch.Generator().manual_seed(seed)),
            "attention_mask": torch.ones(16, 9, dtype=torch.int64),
        }
        for seed in range(8)
    ]
    made = fold_scales(pruned, dense, [*many, {"input_ids": ids, "attention_mask": mask}], lambda done, total: None)
    assert made["blocks_tuned"] == len(made["errors"]) >= 3, (
        "tuning stops only where a scale would leave the paper's bound of 10"
    )
    assert all(after <= before + 1e-9 for before, after in made["errors"])


def test_layer_drop_removes_the_one_that_matters_least(tiny_model: Path) -> None:
    model = load(tiny_model)
    ids, mask, _ = batch()
    changes = []
    for position in range(3):
        trial = load(tiny_model)
        keep_layers(trial, [index for index in range(3) if index != position])
        wanted, found = torch.log_softmax(logits(model), -1), torch.log_softmax(logits(trial), -1)
        changes.append(float(torch.nn.functional.kl_div(found, wanted, log_target=True, reduction="sum")))
    kept = drop_layers(model, TASK, 2, [{"input_ids": ids, "attention_mask": mask}], lambda done, total, text: None)
    assert kept == [index for index in range(3) if index != int(np.argmin(changes))]


@pytest.fixture
def work(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> Work:
    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
    return Work(
        source=tiny_model, original=tiny_model, dense=tiny_model, rows=tiny_artifact, out=tmp_path / "out", scratch=tmp_path / "scratch",
        task="text-classification", max_length=32, seed=7, progress=lambda done, total, text: None,
    )  # fmt: skip


@pytest.mark.parametrize(
    "asked", [{"keep": 0.5}, {"latency": 0.7}, {"layers": 2}, {"layers": 2, "keep": 0.6, "rescale": False}]
)
def test_the_method_end_to_end(work: Work, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "edgekit.compress.pruning.cost._time", lambda rows, width, units, products: 0.01 + 1e-4 * units * products
    )
    made = run(work, Settings(method="prune-structured", rows=64, multiple_of=8, **asked))
    small = load(work.out)
    assert made["parameters"] < sum(parameter.numel() for parameter in load(work.source).parameters())
    shapes = shapes_of(small)
    assert len(shapes) == asked.get("layers", 3)
    if "keep" in asked:
        costs = unit_costs(small, shapes, 10.0, one_token=True, measured=False, scratch=work.scratch)
        assert costs.whole(shapes) <= costs.whole([SHAPE] * len(shapes)) * (asked["keep"] + 0.03)
    assert json.loads((work.out / "edgekit.json").read_text())["schema_version"] == 1


def test_removing_no_layer_is_a_fault(work: Work) -> None:
    with pytest.raises(BadInput, match="removes nothing"):
        run(work, Settings(method="prune-structured", layers=3))
