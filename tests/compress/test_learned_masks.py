"""Learned masks: the gates' distribution against sampling, and a target that is reached."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.compress.pruning.fisher import masked
from edgekit.compress.pruning.learned_masks import (
    Gates,
    Learning,
    apply_masks,
    learn_masks,
    open_chance,
    sample_gates,
    settled_gates,
)
from edgekit.models.checkpoint import load
from edgekit.models.shapes import shapes_of
from edgekit.train.device import at


def feed() -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 60, (16, 9), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**feed()).logits
    return found


def test_the_chance_to_be_open_is_what_sampling_finds() -> None:
    log_alpha = torch.tensor([-3.0, -1.0, 0.0, 2.0])
    drawn = sample_gates(log_alpha.expand(40_000, 4), torch.Generator().manual_seed(0))
    assert drawn.min() == 0 and drawn.max() == 1
    assert (drawn > 0).double().mean(dim=0) == pytest.approx(open_chance(log_alpha).double(), abs=0.01)
    assert torch.equal(settled_gates(torch.tensor([-20.0, 20.0])), torch.tensor([0.0, 1.0]))


def test_gates_have_gradients() -> None:
    log_alpha = torch.zeros(1000, requires_grad=True)
    torch.autograd.backward(sample_gates(log_alpha, torch.Generator().manual_seed(0)).sum())
    assert log_alpha.grad is not None and (log_alpha.grad >= 0).all() and log_alpha.grad.sum() > 0


def test_the_expected_share_counts_blocks(tiny_model: Path) -> None:
    gates = Gates(shapes_of(load(tiny_model)))
    assert gates.expected_share(3.0, 1.0).item() == pytest.approx(0.99**2, abs=1e-4)
    with torch.no_grad():
        gates.blocks[0, 0] = -50.0
    whole = 3 * (4 * 3.0 + 64)
    assert gates.expected_share(3.0, 1.0).item() == pytest.approx(0.99**2 * (1 - 12 / whole), abs=1e-4)


@pytest.mark.parametrize("weight_rate", [0.0, 1e-3])
def test_the_target_is_reached_and_what_matters_stays(tiny_model: Path, tmp_path: Path, weight_rate: float) -> None:
    model = load(tiny_model)
    dense = copy.deepcopy(model)
    wanted = logits(model)

    def loss(step: int, place: torch.device) -> torch.Tensor:
        found: torch.Tensor = model(**at(feed(), place)).logits
        return (found - wanted.to(place)).square().mean()

    plan = Learning(target=0.5, epochs=6, per_epoch=50, weight_rate=weight_rate)
    shares: list[float] = []
    heads, neurons = learn_masks(
        model, loss, plan, 16.0, 1.0,
        seed=0, scratch=tmp_path, progress=lambda step, value, share: shares.append(share),
    )  # fmt: skip
    assert shares[-1] == pytest.approx(0.5, abs=0.1)
    kept = 16.0 * sum((mask > 0).sum() for mask in heads) + sum((mask > 0).sum() for mask in neurons)
    assert 0.3 < kept / (3 * 128) <= 0.5
    same = all(torch.equal(one, other) for one, other in zip(model.parameters(), dense.parameters(), strict=True))
    assert same == (weight_rate == 0.0)
    with masked(
        model, [torch.from_numpy(mask).float() for mask in heads], [torch.from_numpy(mask).float() for mask in neurons]
    ):
        before = logits(model)
    apply_masks(model, heads, neurons)
    assert logits(model) == pytest.approx(before, abs=1e-4)
    assert [shape.neurons for shape in shapes_of(model)] == [int((mask > 0).sum()) for mask in neurons]
    generator = np.random.default_rng(0)
    apply_masks(dense, [generator.permutation(mask) for mask in heads], [generator.permutation(mask) for mask in neurons])
    assert (logits(model) - wanted).norm() < (logits(dense) - wanted).norm()
