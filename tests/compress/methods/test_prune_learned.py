"""prune-learned as a step of a recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgekit.compress.method import Work
from edgekit.compress.methods.prune_learned import Settings, run
from edgekit.errors import BadInput
from edgekit.models.checkpoint import load, save
from edgekit.models.shapes import shapes_of


def fresh(model: Path, rows: Path, folder: Path) -> Work:
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True)
    return Work(
        source=model, original=model, dense=model, rows=rows, out=folder / "out", scratch=folder / "scratch",
        task="text-classification", max_length=32, seed=7, progress=lambda done, total, text: None,
    )  # fmt: skip


def test_it_ends_within_its_budget_and_still_answers(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    work = fresh(tiny_model, tiny_artifact, tmp_path)
    asked = Settings(method="prune-learned", keep=0.5, epochs=8, batch=8, multiple_of=8, learning_rate=1e-3)
    made = run(work, asked)
    shapes = shapes_of(load(tmp_path / "out"))
    cost = sum(shape.heads * 4 * 32 * 8 + shape.neurons * 2 * 32 for shape in shapes)
    assert cost <= 0.55 * 3 * (4 * 4 * 32 * 8 + 64 * 2 * 32)
    assert all(shape.neurons % 8 == 0 for shape in shapes)
    assert made["parameters"] < sum(value.numel() for value in load(tiny_model).parameters())


def test_killed_and_resumed_it_ends_in_the_same_bytes(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    works = [fresh(tiny_model, tiny_artifact, tmp_path / name) for name in ("whole", "killed")]
    asked = Settings(method="prune-learned", keep=0.5, epochs=4, batch=16, multiple_of=8, learning_rate=1e-3)

    class Killed(BaseException):
        """As a signal would end it."""

    def stop(done: float, total: float, text: str) -> None:
        if "prune-learned: epoch 3" in text:
            raise Killed

    made = run(works[0], asked)
    assert made["validation"] == made["history"]["quality"][-1] and made["history"]["best_epoch"] == 4
    with pytest.raises(Killed):
        run(replace(works[1], progress=stop), asked)
    torch.rand(3)  # a process of its own has another state of chance
    assert run(works[1], asked) == made
    assert (works[1].out / "model.safetensors").read_bytes() == (works[0].out / "model.safetensors").read_bytes()


def test_zeros_stay_zero(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    sparse = load(tiny_model)
    sparse.bert.encoder.layer[1].attention.self.query.weight.data[:, ::2] = 0.0
    save(sparse, tmp_path / "sparse", tokenizer_files_from=tiny_model)
    work = replace(fresh(tiny_model, tiny_artifact, tmp_path), source=tmp_path / "sparse")
    run(work, Settings(method="prune-learned", keep=0.9, epochs=1, batch=16, multiple_of=8, learning_rate=1e-3))
    found = load(work.out).bert.encoder.layer[1].attention.self.query.weight
    assert len(found) and (found[:, ::2] == 0).all()


def test_a_budget_below_its_smallest_part(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"0\.001 cannot be met.*is the least; the smallest part that can stay is 8 neurons"):
        run(fresh(tiny_model, tiny_artifact, tmp_path), Settings(method="prune-learned", keep=0.001, multiple_of=8))
