"""Losses of every kind of output, against their definitions in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.tasks import EncoderTask, find_task, task_names
from edgekit.tasks.losses import (
    draw_class,
    draw_labels,
    draw_number,
    draw_relevance,
    draw_span,
    hard_class,
    hard_direction,
    hard_labels,
    hard_number,
    hard_relevance,
    hard_span,
    has_label,
    soft_class,
    soft_direction,
    soft_labels,
    soft_number,
    soft_span,
)

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
GENERATOR = np.random.default_rng(0)


def logs(values: np.ndarray) -> np.ndarray:
    return np.asarray(values - np.log(np.exp(values).sum(axis=-1, keepdims=True)))


def test_tokens_count_where_they_have_a_label() -> None:
    output = GENERATOR.normal(size=(2, 4, 3))
    labels = np.array([[-1, 2, 0, -1], [-1, 1, -1, -1]])
    each = -np.array([logs(output[0, 1])[2] + logs(output[0, 2])[0], logs(output[1, 1])[1]])
    found = hard_class(torch.from_numpy(output), torch.from_numpy(labels), MASK)
    assert found.mean().item() == pytest.approx(each.sum() / 3)
    teacher = GENERATOR.normal(size=(2, 4, 3))
    t = 2.0
    total = 0.0
    for row, place in ((0, 1), (0, 2), (1, 1)):
        p, q = logs(teacher[row, place] / t), logs(output[row, place] / t)
        total += float((np.exp(p) * (p - q)).sum())
    soft = soft_class(torch.from_numpy(output), torch.from_numpy(teacher), torch.from_numpy(labels), MASK, t)
    assert soft.item() == pytest.approx(t**2 * total / 3)


def test_unlabelled_tokens_all_count() -> None:
    student, teacher = (torch.from_numpy(GENERATOR.normal(size=(2, 4, 3))) for _ in range(2))
    none = torch.full((2, 4), -1)
    far = student.clone()
    far[1, 2:] = 99.0
    one, other = (soft_class(part, teacher, none, MASK, 1.0) for part in (student, far))
    assert one.item() == pytest.approx(other.item()), "padding does not count"


def test_labels_of_which_any_number_apply() -> None:
    output, teacher = (torch.from_numpy(GENERATOR.normal(size=(3, 4))) for _ in range(2))
    labels = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [-1, -1, -1, -1]])
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(output[:2], labels[:2].double(), reduction="none").mean(dim=1)
    assert hard_labels(output, labels, MASK).tolist() == pytest.approx([*wanted.tolist(), 0.0])
    p, q = (torch.sigmoid(logits / 2).numpy() for logits in (teacher, output))
    each = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert soft_labels(output, teacher, labels, MASK, 2.0).item() == pytest.approx(4 * each.mean())
    drawn = torch.stack([draw_labels(teacher, MASK, torch.Generator().manual_seed(seed)) for seed in range(600)])
    assert torch.allclose(drawn.double().mean(dim=0), torch.sigmoid(teacher), atol=0.09)
    assert has_label(labels).tolist() == [True, True, False]


def test_numbers() -> None:
    output, teacher = (torch.from_numpy(GENERATOR.normal(size=(3, 1))) for _ in range(2))
    labels = torch.tensor([-2.0, float("nan"), 3.0], dtype=torch.float64, requires_grad=False)
    output.requires_grad_(True)
    found = hard_number(output, labels, MASK)
    assert found.tolist() == pytest.approx([(output[0, 0].item() + 2) ** 2, 0.0, (output[2, 0].item() - 3) ** 2])
    found.sum().backward()
    assert output.grad is not None and output.grad.isfinite().all() and output.grad[1] == 0
    assert soft_number(output, teacher, labels, MASK, 4.0).item() == pytest.approx((output - teacher).square().mean().item())
    grades = torch.tensor([1.0, float("nan"), 0.5], dtype=torch.float64)
    p = torch.sigmoid(output.detach()[:, 0])
    wanted = [-p[0].log().item(), 0.0, -(0.5 * p[2].log() + 0.5 * (1 - p[2]).log()).item()]
    assert hard_relevance(output, grades, MASK).tolist() == pytest.approx(wanted)
    assert set(draw_relevance(output.detach(), MASK, torch.Generator().manual_seed(0)).tolist()) <= {0.0, 1.0}
    drawn = torch.stack([draw_number(teacher, MASK, torch.Generator().manual_seed(seed)) for seed in range(600)])
    assert torch.allclose(drawn.mean(dim=0), teacher[:, 0], atol=0.15) and 0.4 < drawn.var(dim=0).mean() < 0.6
    assert has_label(labels).tolist() == [True, False, True], "a number may be negative"


def test_spans_look_at_real_tokens_alone() -> None:
    output = GENERATOR.normal(size=(2, 4, 2))
    labels = torch.tensor([[1, 3], [0, 1]])
    wanted = [
        -(logs(output[0, :, 0])[1] + logs(output[0, :, 1])[3]) / 2,
        -(logs(output[1, :2, 0])[0] + logs(output[1, :2, 1])[1]) / 2,
    ]
    assert hard_span(torch.from_numpy(output), labels, MASK).tolist() == pytest.approx(wanted)
    assert hard_span(torch.from_numpy(output), torch.full((2, 2), -1), MASK).tolist() == [0.0, 0.0]
    assert soft_span(torch.from_numpy(output), torch.from_numpy(output), labels, MASK, 3.0).item() == pytest.approx(0, abs=1e-9)
    assert soft_span(torch.from_numpy(output), torch.from_numpy(-output), labels, MASK, 3.0).item() > 0


def test_directions() -> None:
    teacher = torch.nn.functional.normalize(torch.from_numpy(GENERATOR.normal(size=(3, 6))), dim=-1)
    assert soft_direction(teacher, teacher, MASK, MASK, 1.0).item() == pytest.approx(0, abs=1e-9)
    narrow = torch.nn.functional.normalize(torch.from_numpy(GENERATOR.normal(size=(3, 4))), dim=-1)
    wanted = (narrow @ narrow.T - teacher @ teacher.T).square().mean()
    assert soft_direction(narrow, teacher, MASK, MASK, 1.0).item() == pytest.approx(wanted.item())
    assert hard_direction(teacher, torch.tensor([-1, -1, -1]), MASK).tolist() == [0, 0, 0]


def test_drawn_labels_are_real_ones() -> None:
    output = torch.from_numpy(GENERATOR.normal(size=(2, 4, 3)))
    drawn = draw_class(output, MASK, torch.Generator().manual_seed(0))
    assert drawn.shape == (2, 4) and (drawn[1, 2:] == -1).all() and (drawn[MASK.bool()] >= 0).all()
    spans = draw_span(output[:, :, :2], MASK, torch.Generator().manual_seed(0))
    assert spans.shape == (2, 2) and spans[1].max() < 2
    certain = torch.full((2, 4, 3), -50.0)
    certain[:, :, 1] = 50.0
    assert (draw_class(certain, MASK, torch.Generator())[MASK.bool()] == 1).all()


@pytest.mark.parametrize("name", task_names())
def test_gradients_reach_the_output(name: str) -> None:
    task = find_task(name)
    shape = (2, 4, 2) if task.per_token else (2, 3)
    output = torch.randn(shape, requires_grad=True)
    draw = task.draw if isinstance(task, EncoderTask) else draw_class
    drawn = draw(output.detach(), MASK, torch.Generator().manual_seed(0))
    task.hard(output, drawn, MASK).sum().backward()
    assert output.grad is not None and torch.isfinite(output.grad).all() and output.grad.abs().sum() > 0


def test_embeddings_of_any_length() -> None:
    """Nothing is lost at the teacher's own; of length 1 the form for any length says the same; scale does not matter."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn((2, 5, 8), generator=generator, dtype=torch.float64).unbind()
    none, mask = torch.full((5,), -1), torch.ones(5, 3)
    assert float(soft_direction(teacher, teacher.clone(), none, mask, 1.0)) == pytest.approx(0)
    loss = float(soft_direction(student, teacher, none, mask, 1.0))
    assert float(soft_direction(7 * student, 7 * teacher, none, mask, 1.0)) == pytest.approx(loss)
    assert float(soft_direction(student, teacher / teacher.norm(dim=1, keepdim=True), none, mask, 1.0)) > 0
    units = [vectors / vectors.norm(dim=1, keepdim=True) for vectors in (student, teacher)]
    nearly = [vectors * 1.002 for vectors in units]
    assert float(soft_direction(*nearly, none, mask, 1.0)) == pytest.approx(
        float(soft_direction(*units, none, mask, 1.0)), rel=1e-9
    )
