"""Several teachers: the mean of their probabilities, whose folders count in the stage's key, and which cannot teach together."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.compress.method import Work
from edgekit.compress.methods import distill
from edgekit.compress.methods.distill import Settings
from edgekit.config.toml import parse
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.models.checkpoint import load, save
from edgekit.plan.make import make_plan
from edgekit.tasks import find_task

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
T = 3.0


def gradients(task: str, teachers: list[torch.Tensor], mean: torch.Tensor, student: torch.Tensor) -> list[np.ndarray]:
    """Of the mean of the losses to each of `teachers`, and of the loss to `mean`."""
    soft, found = find_task(task).soft, []
    for taught in (teachers, [mean]):
        output = student.clone().requires_grad_(True)
        labels = torch.full((2, 4) if output.ndim == 3 else (2,), -1)
        torch.stack([soft(output, one, labels, MASK, T) for one in taught]).mean().backward()
        assert output.grad is not None
        found.append(output.grad.numpy())
    return found


@pytest.mark.parametrize("task", ["text-classification", "token-classification", "question-answering"])
def test_the_mean_of_losses_pulls_as_the_loss_to_the_mean(task: str) -> None:
    shape = (2, 5) if task == "text-classification" else (2, 4, 2)
    student, *teachers = torch.randn((4, *shape), dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    over = 1 if task == "question-answering" else -1
    padded = [one.masked_fill(~MASK.bool()[:, :, None], -1e9) if over == 1 else one for one in teachers]
    mean = T * torch.stack([torch.softmax(one / T, dim=over) for one in padded]).mean(dim=0).clamp(min=1e-300).log()
    one, other = gradients(task, teachers, mean, student)
    assert np.allclose(one, other, atol=1e-12) and np.abs(one).max() > 1e-3


def test_embeddings_follow_the_mean_of_unit_vectors_and_of_similarities() -> None:
    student, *teachers = torch.nn.functional.normalize(
        torch.randn((3, 2, 6), dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=-1
    ).unbind()
    output = student.clone().requires_grad_(True)
    similar = torch.stack([one @ one.T for one in teachers]).mean(dim=0)
    wanted = 1 - (output * torch.stack(teachers).mean(dim=0)).sum(dim=-1).mean()
    (wanted + (output @ output.T - similar).square().mean()).backward()
    found, _ = gradients("feature-extraction", teachers, teachers[0], student)
    assert output.grad is not None and np.allclose(found, output.grad.numpy(), atol=1e-12)


def other_teacher(model: Path, folder: Path, *, labels: list[str] | None = None) -> Path:
    """The tiny model with a head that reads otherwise."""
    changed = load(model)
    changed.classifier.weight.data = changed.classifier.weight.data.roll(1, dims=0) * 2
    if labels:
        changed.config.id2label = dict(enumerate(labels))
    save(changed, folder, tokenizer_files_from=model)
    return folder


@pytest.fixture
def work(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> Work:
    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
    return Work(
        source=tiny_model, original=tiny_model, dense=tiny_model, rows=tiny_artifact, out=tmp_path / "out",
        scratch=tmp_path / "scratch", task="text-classification", max_length=32, seed=7,
        progress=lambda done, total, text: None,
    )  # fmt: skip


def settings(**asked: Any) -> Settings:
    return parse({"method": "distill", "epochs": 2, "batch": 16, "learning_rate": 5e-3, **asked}, Settings, where="here")


def test_two_teachers_teach_their_mean(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    other = other_teacher(tiny_model, tmp_path / "other")
    work = replace(work, checkpoints={"../other": str(other)})
    alone = distill.run(work, settings(teacher="none", teachers=["../other"], alpha=1.0, epochs=8))
    shutil.rmtree(work.scratch)
    assert alone["history"]["quality"][-1] < 0.5, "the other teacher calls everything by the next label"
    both = distill.run(work, settings(teachers=["../other"], layers=2, relations="minilmv2", alpha=1.0))
    assert (work.scratch / "teacher-1" / "teacher.npy").is_file() and np.isfinite(both["history"]["quality"]).all()
    assert [path.name for path in (work.scratch / "teacher-1").iterdir()] == ["teacher.npy"], "only the first is looked into"


def test_a_teacher_whose_labels_stand_in_another_order_says_the_same(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    turned = load(tiny_model)
    names = [turned.config.id2label[number] for number in range(turned.config.num_labels)]
    for part in (turned.classifier.weight, turned.classifier.bias):
        part.data = part.data.flip(0)
    turned.config.id2label = dict(enumerate(reversed(names)))
    save(turned, tmp_path / "turned", tokenizer_files_from=tiny_model)
    distill.run(replace(work, checkpoints={"t": str(tmp_path / "turned")}), settings(teachers=["t"], epochs=1))
    own, theirs = (np.load(folder / "teacher.npy") for folder in (work.scratch, work.scratch / "teacher-1"))
    assert names != names[::-1] and np.allclose(own, theirs, atol=1e-6) and np.ptp(own) > 0.1


def test_who_cannot_teach(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    other = other_teacher(tiny_model, tmp_path / "other", labels=["a", "b", "c", "d"])
    with pytest.raises(BadInput, match=r"different labels.*|other"):
        distill.run(replace(work, checkpoints={"o": str(other)}), settings(teachers=["o"]))
    document = json.loads((tiny_model / "tokenizer.json").read_text())
    del document["model"]["vocab"]["light"]
    cut = other_teacher(tiny_model, tmp_path / "cut")
    (cut / "tokenizer.json").write_text(json.dumps(document))
    work = replace(work, checkpoints={"cut": str(cut)})
    with pytest.raises(BadInput, match="different tokens"):
        distill.run(work, settings(teacher="none", teachers=["cut"]))
    shutil.rmtree(work.scratch)
    assert distill.run(work, settings(teachers=["cut"]))["validation"] > 0, "answers alone need no common tokens"


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"teacher": "none"}, "leaves nobody to teach"),
        ({"teachers": ["a", "a"]}, "duplicate teacher"),
        ({"teachers": "a"}, "list"),
    ],
)
def test_teachers_that_cannot_be_asked_for(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        settings(**asked)


RECIPE = """schema = 1
task = "text-classification"
[model]
id = "tiny"
max_length = 32
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
[[compress]]
method = "distill"
"""


@pytest.fixture
def place(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> Path:
    for split in ("train", "validation", "test"):
        shutil.copy(tiny_data / f"{split}.jsonl", tmp_path)
    (tmp_path / "tiny").symlink_to(tiny_model)
    other_teacher(tiny_model, tmp_path / "other")
    return tmp_path


def keys(place: Path, more: str) -> list[str]:
    (place / "line.toml").write_text(RECIPE + more)
    plan = make_plan(str(place / "line.toml"), ["x86-avx2"], detect())
    return [stage.key for stage in (plan.original, *plan.compressed)]


def test_a_changed_teacher_is_another_stage(place: Path) -> None:
    plain, one = keys(place, ""), keys(place, 'teachers = ["other"]')
    assert plain[0] == one[0] and plain[1] != one[1]
    (place / "other").rename(place / "moved")
    assert keys(place, 'teachers = ["moved"]') == one, "where a teacher lies does not count"
    config = place / "moved" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert keys(place, 'teachers = ["moved"]')[1] != one[1]
    assert keys(place, 'teachers = ["owner/a@1"]')[1] != keys(place, 'teachers = ["owner/a@2"]')[1]


def test_faults_of_teachers_are_told_when_the_plan_is_made(place: Path, tiny_model: Path) -> None:
    other_teacher(tiny_model, place / "labels", labels=["a", "b", "c", "d"])
    short, cut = (other_teacher(tiny_model, place / name) for name in ("short", "cut"))
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 16}))
    document = json.loads((cut / "tokenizer.json").read_text())
    del document["model"]["vocab"]["light"]
    (cut / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(BadInput) as fault:
        keys(place, 'teacher = "none"\nteachers = ["cut", "labels", "short", "./absent"]')
    for text in (
        "cut tokenizes text otherwise", "labels has other labels", "short has positions for 16 tokens",
        "no such model folder: ./absent",
    ):  # fmt: skip
        assert text in str(fault.value)
    assert str(fault.value).count("compress 1, distill") == 4
    keys(place, 'teachers = ["cut"]')
    names = json.loads((place / "tiny" / "config.json").read_text())["id2label"]
    other_teacher(tiny_model, place / "turned", labels=list(names.values())[::-1])
    keys(place, 'teachers = ["turned"]')
    with pytest.raises(BadInput, match="turned has the original's labels in another order"):
        keys(place, 'student = "turned"')
    with pytest.raises(BadInput, match="cut tokenizes text otherwise"):
        keys(place, 'teacher = "none"\nteachers = ["cut"]')
    keys(place, 'teacher = "none"\nteachers = ["cut"]\nhidden = "none"')
