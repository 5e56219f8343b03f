"""prune-learned as a step of a recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.compress.method import Work
from edgekit.compress.prune_learned import Settings, in_blocks, run
from edgekit.models.checkpoint import load
from edgekit.models.shapes import shapes_of


def test_it_ends_within_its_budget_and_still_answers(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
    work = Work(
        source=tiny_model, original=tiny_model, dense=tiny_model, rows=tiny_artifact, out=tmp_path / "out",
        scratch=tmp_path / "scratch", task="text-classification", max_length=32, seed=7,
        progress=lambda done, total, text: None,
    )  # fmt: skip
    asked = Settings(method="prune-learned", keep=0.5, epochs=8, batch=8, multiple_of=8, learning_rate=1e-3)
    made = run(work, asked)
    shapes = shapes_of(load(tmp_path / "out"))
    cost = sum(shape.heads * 4 * 32 * 8 + shape.neurons * 2 * 32 for shape in shapes)
    assert cost <= 0.55 * 3 * (4 * 4 * 32 * 8 + 64 * 2 * 32)
    assert all(shape.neurons % 8 == 0 for shape in shapes)
    assert made["parameters"] < sum(value.numel() for value in load(tiny_model).parameters())


def test_whole_blocks_of_neurons() -> None:
    mask = np.array([0.9, 0.0, 0.1, 0.5, 0.4, 0.0, 0.7])
    assert in_blocks(mask, 4).tolist() == [0.9, 0.0, 0.0, 0.5, 0.4, 0.0, 0.7]
    assert in_blocks(mask, 1).tolist() == mask.tolist()
    assert in_blocks(mask, 8).tolist() == [0.0] * 7
