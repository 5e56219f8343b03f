"""`prune` as a function: what it leaves alone, what it reports, and labels that are not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from edgekit.compress.methods.prune_structured import Settings, prune
from edgekit.compress.pruning.fisher import _labels
from edgekit.errors import BadInput
from edgekit.models.checkpoint import load
from edgekit.models.shapes import shapes_of
from edgekit.tasks import find_task

TASK = find_task("text-classification")


def batches(labels: str = "known") -> list[Any]:
    made: list[Any] = []
    for number in range(4):
        generator = torch.Generator().manual_seed(number)
        ids = torch.randint(5, 60, (16, 9), generator=generator)
        mask = torch.ones_like(ids)
        mask[::3, 6:] = 0
        wanted = torch.randint(0, 4, (16,), generator=generator)
        wanted[1] = -1 if labels == "some" else wanted[1]
        made.append(({"input_ids": ids, "attention_mask": mask}, None if labels == "none" else wanted))
    return made


def quiet(done: float, total: float, text: str) -> None:
    assert 0 <= done <= total, text


def settings(**asked: Any) -> Settings:
    return Settings(method="prune-structured", multiple_of=8, **asked)


@pytest.mark.parametrize("labels", ["known", "some", "none"])
def test_it_returns_a_smaller_copy_and_says_what_it_did(tiny_model: Path, labels: str) -> None:
    model = load(tiny_model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made, facts = prune(model, TASK, batches(labels), settings(keep=0.5, layers=2), quiet)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(shapes_of(model)) == len(facts.before) == 3
    assert facts.after == tuple(shapes_of(made))
    assert len(facts.after) == 2
    assert facts.layers_kept is not None
    assert facts.parameters == sum(value.numel() for value in made.parameters())
    assert facts.cost is not None and 0.4 < facts.cost <= 0.5
    assert facts.importance is not None and 0.5 < facts.importance <= 1
    assert all(shape.neurons % 8 == 0 for shape in facts.after)


def test_the_same_call_gives_the_same_model(tiny_model: Path) -> None:
    (one, facts), (other, again) = (prune(load(tiny_model), TASK, batches("none"), settings(keep=0.6), quiet) for _ in range(2))
    assert facts == again
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_the_head_and_the_embeddings_are_untouched(tiny_model: Path) -> None:
    model = load(tiny_model)
    made, _ = prune(model, TASK, batches(), settings(keep=0.5), quiet)
    for part in ("classifier", "bert.pooler", "bert.embeddings"):
        theirs = model.get_submodule(part).state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in made.get_submodule(part).state_dict().items())


def test_labels_that_are_missing_are_drawn_from_the_models_own_predictions(tiny_model: Path) -> None:
    """The KL divergence from itself is flat at the dense model, so it could not take their place."""
    feed, known = batches()[0]
    output, mask = load(tiny_model)(**feed).logits, feed["attention_mask"]

    def labels(given: torch.Tensor | None) -> torch.Tensor:
        return _labels(TASK, output, mask, given, torch.Generator().manual_seed(0))

    assert labels(known) is known
    some = known.clone()
    some[2] = -1
    drawn = labels(some)
    assert torch.equal(drawn[some >= 0], known[some >= 0])
    assert 0 <= int(drawn[2]) < 4
    assert torch.equal(labels(None), labels(None))


@pytest.mark.parametrize(
    "wrong", [{}, {"keep": 0.5, "latency": 0.5}, {"keep": 1.0}, {"keep": 0.0}, {"latency": 1.5}, {"layers": 0}]
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)


def test_a_budget_below_its_smallest_part(tiny_model: Path) -> None:
    with pytest.raises(BadInput, match=r"0\.0001 cannot be met.*0\.0\d+ is the least; the smallest part that can stay is"):
        prune(load(tiny_model), TASK, batches(), settings(keep=0.0001), quiet)
