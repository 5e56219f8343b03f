"""Learned masks: the gates' distribution against sampling, and a target that is reached."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.compress.pruning.cost import UnitCosts
from edgekit.compress.pruning.fisher import masked
from edgekit.compress.pruning.learned_masks import (
    Constraint,
    Gates,
    apply_masks,
    learn_masks,
    open_probability,
    sample_gates,
    settled_gates,
    whole_multiples,
)
from edgekit.models.checkpoint import load
from edgekit.models.shapes import shapes_of
from edgekit.runtime.tokenise import Window
from edgekit.tasks.encode import Encoded
from edgekit.train.loop import Hyperparameters


def feed() -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 60, (16, 9), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**feed()).logits
    return found


def test_the_probability_to_be_open_is_what_sampling_finds() -> None:
    log_alpha = torch.tensor([-3.0, -1.0, 0.0, 2.0])
    drawn = sample_gates(log_alpha.expand(40_000, 4), torch.Generator().manual_seed(0))
    assert drawn.min() == 0 and drawn.max() == 1
    assert (drawn > 0).double().mean(dim=0) == pytest.approx(open_probability(log_alpha).double(), abs=0.01)
    assert torch.equal(settled_gates(torch.tensor([-20.0, 20.0])), torch.tensor([0.0, 1.0]))


def test_gates_have_gradients() -> None:
    log_alpha = torch.zeros(1000, requires_grad=True)
    torch.autograd.backward(sample_gates(log_alpha, torch.Generator().manual_seed(0)).sum())
    assert log_alpha.grad is not None and (log_alpha.grad >= 0).all() and log_alpha.grad.sum() > 0


def test_the_expected_share_counts_blocks(tiny_model: Path) -> None:
    gates, constraint = Gates(shapes_of(load(tiny_model))), Constraint(0.5, UnitCosts((3.0,) * 3, (1.0,) * 3))
    assert gates.expected_share(constraint).item() == pytest.approx(0.99**2, abs=1e-4)
    with torch.no_grad():
        gates.blocks[0, 0] = -50.0
    whole = 3 * (4 * 3.0 + 64)
    assert gates.expected_share(constraint).item() == pytest.approx(0.99**2 * (1 - 12 / whole), abs=1e-4)


def test_the_target_falls_while_it_rises_to_its_sparsity() -> None:
    constraint = Constraint(0.4, UnitCosts((1.0,), (1.0,)), rising=0.5)
    assert [round(constraint.target_at(step, 8), 3) for step in range(8)] == [0.85, 0.7, 0.55, 0.4, 0.4, 0.4, 0.4, 0.4]


def windows(count: int) -> Encoded:
    """`count` times the texts of `feed`, without labels."""
    one = [Window(ids.numpy(), None, np.zeros((9, 2), dtype=np.int64), np.full(9, -1), "") for ids in feed()["input_ids"]]
    return Encoded([], one * count, [np.asarray(-1)] * (len(one) * count), 0)


@pytest.mark.parametrize("weight_rate", [0.0, 1e-3])
def test_the_target_is_reached_and_what_matters_stays(tiny_model: Path, tmp_path: Path, weight_rate: float) -> None:
    model = load(tiny_model)
    dense = copy.deepcopy(model)
    wanted = logits(model)

    def loss(model: Any, _: Any, feed: dict[str, torch.Tensor], numbers: np.ndarray) -> torch.Tensor:
        found: torch.Tensor = model(**feed).logits
        return (found - wanted[numbers % 16]).square().mean()

    def evaluate(model: Any) -> float:
        return -float((logits(model) - wanted).norm())

    learned = learn_masks(
        model, windows(50), loss, evaluate, Hyperparameters(6, 16, weight_rate), Constraint(0.5, UnitCosts((16.0,) * 3, (1.0,) * 3)),
        gate_rate=0.1, multiple=1, seed=0, scratch=tmp_path, progress=lambda *_: None, label="masks",
    )  # fmt: skip
    heads, neurons = learned.heads, learned.neurons
    assert learned.expected_share == pytest.approx(0.5, abs=0.1)
    assert len(learned.history.quality) == learned.history.best_epoch == 6, "masks belong to the weights of the last epoch"
    kept = 16.0 * sum((mask > 0).sum() for mask in heads) + sum((mask > 0).sum() for mask in neurons)
    assert 0.3 < kept / (3 * 128) <= 0.5
    same = all(torch.equal(one, other) for one, other in zip(model.parameters(), dense.parameters(), strict=True))
    assert same == (weight_rate == 0.0)
    with masked(
        model, [torch.from_numpy(mask).float() for mask in heads], [torch.from_numpy(mask).float() for mask in neurons]
    ):
        before = logits(model)
        assert learned.history.best == pytest.approx(evaluate(model), abs=1e-4), "quality is that of the masked model"
    apply_masks(model, heads, neurons)
    assert logits(model) == pytest.approx(before, abs=1e-4)
    assert [shape.neurons for shape in shapes_of(model)] == [int((mask > 0).sum()) for mask in neurons]
    generator = np.random.default_rng(0)
    apply_masks(dense, [generator.permutation(mask) for mask in heads], [generator.permutation(mask) for mask in neurons])
    assert (logits(model) - wanted).norm() < (logits(dense) - wanted).norm()


def test_whole_multiples_of_neurons() -> None:
    mask = np.array([0.9, 0.0, 0.1, 0.5, 0.4, 0.0, 0.7])
    assert whole_multiples(mask, 4).tolist() == [0.9, 0.0, 0.0, 0.5, 0.4, 0.0, 0.7]
    assert whole_multiples(mask, 1).tolist() == mask.tolist()
    assert whole_multiples(mask, 8).tolist() == [0.0] * 7
