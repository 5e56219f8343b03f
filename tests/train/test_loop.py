"""The training loop: parameters beside the model that follow a learning rate of their own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.models.checkpoint import load
from edgekit.progress import silent
from edgekit.tasks import find_task
from edgekit.tasks.encode import Encoded, encode, read_split
from edgekit.train.loop import History, Hyperparameters, ParameterGroup, fit


class Beside(torch.nn.Module):
    """A scaled output, a weight that descends and one that climbs."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.down = torch.nn.Parameter(torch.zeros(1))
        self.up = torch.nn.Parameter(torch.zeros(1))


class Killed(BaseException):
    """As a signal would end it."""


def trained(
    model: Any, train: Encoded, scratch: Path, *, rate: float = 1e-3, push: float = 1.0, stop_at: int = -1
) -> tuple[Beside, History, list[int]]:
    task, beside, steps = find_task("text-classification"), Beside(), []

    def loss(model: Any, extra: Any, feed: dict[str, torch.Tensor], windows: np.ndarray) -> torch.Tensor:
        output = extra.scale * model(**feed).logits
        value = task.hard(output, train.wanted(windows).to(output.device), feed["attention_mask"]).mean()
        return value + push * (extra.down + extra.up).sum()

    def before_step(step: int, total: int) -> None:
        if step == stop_at:
            raise Killed
        steps.append(step)
        assert total == 15

    history = fit(
        model, train, loss, lambda model: 0.5, Hyperparameters(3, 16, rate, weight_decay=0.0),
        seed=7, scratch=scratch, progress=lambda *_: None, label="test", extra=beside,
        extra_groups=[ParameterGroup([beside.down], 0.1), ParameterGroup([beside.up], 0.1, maximize=True)],
        before_step=before_step,
    )  # fmt: skip
    return beside, history, steps


@pytest.fixture(scope="module")
def train(tiny_model: Path, tiny_artifact: Path) -> Encoded:
    return encode(tiny_model, read_split(tiny_artifact, "train"), find_task("text-classification"), 32)


@pytest.fixture(scope="module")
def killed(tiny_model: Path, train: Encoded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that is killed in its third epoch."""
    scratch = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed):
        trained(load(tiny_model), train, scratch, stop_at=12)
    return scratch


def test_a_group_follows_its_own_rate_in_its_own_direction(tiny_model: Path, train: Encoded, tmp_path: Path) -> None:
    """Adam's steps with a constant gradient are as long as the learning rate, which no schedule and no clipping changes."""
    beside, history, steps = trained(load(tiny_model), train, tmp_path)
    assert steps == list(range(15)) and history.best_epoch == 3 and history.best == 0.5
    assert beside.down.item() == pytest.approx(-15 * 0.1, abs=1e-4)
    assert beside.up.item() == pytest.approx(15 * 0.1, abs=1e-4)
    assert beside.scale.item() != 1.0


def test_groups_have_no_part_in_gradient_clipping(tiny_model: Path, train: Encoded, tmp_path: Path) -> None:
    models = [load(tiny_model) for _ in range(2)]
    for number, (model, push) in enumerate(zip(models, (1.0, 1e6), strict=True)):
        trained(model, train, tmp_path / str(number), push=push)
    assert all(torch.equal(one, other) for one, other in zip(*(model.parameters() for model in models), strict=True))


def test_a_rate_of_zero_leaves_the_model_as_it_is(tiny_model: Path, train: Encoded, tmp_path: Path) -> None:
    model, before = load(tiny_model), load(tiny_model)
    trained(model, train, tmp_path, rate=0.0)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), before.parameters(), strict=True))


def test_training_ends_after_epochs_without_a_better_one(tiny_model: Path, train: Encoded, tmp_path: Path) -> None:
    """The best epoch is kept; asked again, nothing more is trained."""
    for _ in range(2):
        qualities = iter([0.5, 0.7, 0.6, 0.65, 0.9]).__next__
        model = load(tiny_model)
        history = fit(
            model, train, lambda model, extra, feed, windows: model(**feed).logits.square().mean(), lambda model, next_=qualities: next_(),
            Hyperparameters(5, 16, 1e-4, patience=2), seed=7, scratch=tmp_path, progress=silent, label="train",
        )  # fmt: skip
        assert (history.quality, history.best_epoch) == ([0.5, 0.7, 0.6, 0.65], 2)


def test_a_killed_run_resumes_what_stands_beside_the_model_too(
    tiny_model: Path, train: Encoded, killed: Path, tmp_path: Path
) -> None:
    models = [load(tiny_model) for _ in range(2)]
    whole, _, _ = trained(models[0], train, tmp_path / "whole")
    resumed, history, steps = trained(models[1], train, shutil.copytree(killed, tmp_path / "killed"))
    assert steps == [10, 11, 12, 13, 14] and len(history.quality) == 3
    for one, other in ((models[0], models[1]), (whole, resumed)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("torn", ["state.json", "epoch-1.safetensors", "best.safetensors"])
@pytest.mark.parametrize("left", [None, 0, 50])
def test_what_is_torn_is_made_again(
    tiny_model: Path, train: Encoded, killed: Path, tmp_path: Path, torn: str, left: int | None
) -> None:
    """The power went while it was written: bytes that are left of it, or nothing of it."""
    scratch = shutil.copytree(killed, tmp_path / "scratch")
    path = scratch / torn
    path.unlink() if left is None else path.write_bytes(path.read_bytes()[:left])
    if torn == "state.json" and left == 50:
        path.write_text('{"quality": [1.0], "best": 0}')  # of an epoch whose weights are not there
    _, history, steps = trained(load(tiny_model), train, scratch)
    assert steps == list(range(15)) and len(history.quality) == 3
