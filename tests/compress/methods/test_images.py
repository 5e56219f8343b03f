"""Distillation of encoders of images whose training images are changed in every step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForImageClassification

from edgekit.compress.distillation.teacher import LiveTeacher
from edgekit.compress.method import StepContext, Work
from edgekit.compress.methods import distill
from edgekit.compress.methods.distill import Settings
from edgekit.compress.registry import find_method
from edgekit.config.images import ImageChanges
from edgekit.config.recipe import Recipe
from edgekit.errors import BadInput
from edgekit.models.checkpoint import load
from edgekit.models.shapes import layer_count, shapes_of
from edgekit.tasks import find_task
from edgekit.tasks.encode import encode, read_split
from edgekit.train import image_changes, loop
from tests.tiny_images import LABELS, as_text, made_model, picture, write_png

CHANGES = ImageChanges(flip=True, crop=2, colour=0.2)
SHORT = Settings(method="distill", layers=1, epochs=3, batch=8, images=CHANGES, hidden_weight=0.01)
TASK = find_task("image-classification")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny ViT, and rows of images as the data stage leaves them."""
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for split, count in {"train": 24, "validation": 6, "test": 6}.items():
        rows = [
            {"image": as_text(write_png(picture(LABELS[number % 3], draw))), "label": LABELS[number % 3]}
            for number in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "data.json").write_text(json.dumps({"columns": ["image", "label"], "labels": list(LABELS)}))
    return made_model(folder / "model"), folder


def fresh(made: tuple[Path, Path], folder: Path) -> Work:
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True)
    model, rows = made
    return Work(
        source=model, original=model, dense=model, rows=rows, out=folder / "out", scratch=folder / "scratch",
        task="image-classification", max_length=128, seed=7, progress=lambda done, total, text: None,
    )  # fmt: skip


def test_killed_and_resumed_it_sees_the_same_images(made: tuple[Path, Path], tmp_path: Path) -> None:
    whole, again = fresh(made, tmp_path / "whole"), fresh(made, tmp_path / "again")
    distill.run(whole, SHORT)

    class Killed(BaseException):
        """As a signal would end it."""

    def stop(done: float, total: float, text: str) -> None:
        if "epoch 2/3" in text:
            raise Killed

    with pytest.raises(Killed):
        distill.run(replace(again, progress=stop), SHORT)
    distill.run(again, SHORT)
    assert layer_count(load(again.out, TASK.auto)) == 1
    assert (again.out / "model.safetensors").read_bytes() == (whole.out / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "more",
    [
        {"hidden": "dynamic", "relations": "attention"},
        {"relations": "minilmv2", "lora": 2},
        {"alpha": 1.0, "images": ImageChanges(mixup=0.5)},
    ],
    ids=str,
)
def test_only_training_images_are_changed(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    seen: list[int] = []

    def counted(pixels: np.ndarray, changes: ImageChanges, seed: tuple[int, ...]) -> np.ndarray:
        seen.append(len(pixels))
        return image_changes.changed(pixels, changes, seed)

    monkeypatch.setattr(loop, "changed", counted)
    distill.run(fresh(made, tmp_path), Settings(**{**SHORT.model_dump(), "layers": None, "epochs": 1, "lora": None, **more}))
    assert seen == [8, 8, 8]
    before, after = (load(folder, TASK.auto).state_dict() for folder in (made[0], tmp_path / "out"))
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_teacher_answers_for_the_changed_image(made: tuple[Path, Path]) -> None:
    model, folder = made
    rows = read_split(folder, "train")[:5]
    data = encode(model, rows, TASK, 128)
    labels = ["red", "dark", "green"]
    teacher = LiveTeacher.prepare(model, TASK, rows, labels, 128, shown=[0, 2], relation_layer=None, student=data)
    feed = data.feed(np.arange(5), lambda pixels: pixels[..., ::-1])
    given = teacher.answers(feed, np.arange(5))
    plain = encode(model, rows, TASK, 128).feed(np.arange(5))["pixel_values"].flip(-1)
    theirs = AutoModelForImageClassification.from_pretrained(model).eval()
    with torch.no_grad():
        wanted = theirs(pixel_values=plain, output_hidden_states=True)
    order = [theirs.config.label2id[label] for label in labels]
    assert torch.allclose(given.output, wanted.logits[:, order], atol=1e-5)
    assert torch.allclose(given.tokens("hidden")[:, 1], wanted.hidden_states[2].flatten(0, 1), atol=1e-5)


def test_a_teacher_that_reads_images_otherwise_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    other = made_model(tmp_path / "other", image_mean=[0.1, 0.2, 0.3])
    with pytest.raises(BadInput, match="make other pixels"):
        distill.run(fresh(made, tmp_path / "work"), Settings(**{**SHORT.model_dump(), "teachers": [str(other)]}))


def test_what_cannot_be_is_said_before_anything_runs() -> None:
    with pytest.raises(ValidationError, match="set alpha = 1"):
        Settings(method="distill", images=ImageChanges(mixup=0.2))
    recipe = Recipe.model_validate(
        {"schema": 1, "task": "text-classification", "model": {"id": "x"}, "data": {"builtin": "intents"}}
    )
    assert any("images: text-classification reads text" in fault for fault in distill.check(SHORT, StepContext(recipe=recipe)))


@pytest.mark.parametrize(
    "asked",
    [
        {"method": "prune-learned", "keep": 0.6, "epochs": 2, "batch": 8, "multiple_of": 8},
        {
            "method": "prune-gradual",
            "what": "structures",
            "sparsity": 0.5,
            "epochs": 2,
            "steps": 2,
            "rows": 16,
            "multiple_of": 8,
            "batch": 8,
        },
        {"method": "prune-gradual", "what": "weights", "sparsity": 0.5, "epochs": 2, "steps": 2, "batch": 8, "lora": 2},
        {"method": "prune-unstructured", "sparsity": 0.5, "rows": 16},
    ],
    ids=lambda asked: f"{asked['method']} {asked.get('what', '')}",
)
def test_other_methods_prune_encoders_of_images(made: tuple[Path, Path], tmp_path: Path, asked: dict[str, Any]) -> None:
    method = find_method(asked["method"])
    assert "image" in method.reads
    work = fresh(made, tmp_path)
    method.run(work, method.settings.model_validate(asked))
    before, after = (load(folder, TASK.auto) for folder in (made[0], work.out))
    if asked["method"] == "prune-unstructured" or asked.get("what") == "weights":
        zeros, total = (
            sum(measure(module.weight) for module in after.base_model.layers.modules() if isinstance(module, torch.nn.Linear))
            for measure in (lambda weight: int((weight == 0).sum()), torch.numel)
        )
        assert zeros / total == pytest.approx(0.5, abs=0.02)
    else:
        assert sum(shape.heads + shape.neurons for shape in shapes_of(after)) < sum(
            shape.heads + shape.neurons for shape in shapes_of(before)
        )
    pixels = encode(made[0], read_split(made[1], "test"), TASK, 128).feed(np.arange(3))["pixel_values"]
    with torch.no_grad():
        assert torch.isfinite(after(pixel_values=pixels).logits).all()
