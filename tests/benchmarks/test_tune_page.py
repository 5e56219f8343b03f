"""The page of how good the search is, made from its results; and the volume that these are given in."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.tune.lookup import HERE, TASKS, cells_of, hypervolume
from benchmarks.tune.page import write_page


def test_the_page_is_made_from_the_results(tmp_path: Path) -> None:
    write_page(HERE / "lookup.json", tmp_path / "README.md")
    assert (tmp_path / "README.md").read_bytes() == (HERE / "README.md").read_bytes()


def test_the_volume_of_known_fronts() -> None:
    assert hypervolume([(1.0, 0.0, 0.0)]) == 1 and hypervolume([(0.0, 0.0, 0.0)]) == 0
    assert hypervolume([(0.5, 0.5, 0.5)]) == pytest.approx(0.125)
    assert hypervolume([(0.5, 0.5, 0.5), (0.4, 0.6, 0.6), (0.5, 0.5, 0.5)]) == pytest.approx(0.125), (
        "what is dominated adds nothing"
    )
    assert hypervolume([(1.0, 0.5, 0.5), (0.5, 0.0, 0.5)]) == pytest.approx(0.5 * (0.5 + 0.25))
    chance = random.Random(1)
    points = [(chance.random(), chance.random(), chance.random()) for _ in range(12)]
    draws = [(chance.random(), chance.random(), chance.random()) for _ in range(20_000)]
    hit = sum(any(one[0] >= q and one[1] <= c and one[2] <= s for one in points) for q, c, s in draws)
    assert hypervolume(points) == pytest.approx(hit / len(draws), abs=0.02)


@pytest.mark.parametrize("task", TASKS)
def test_every_draw_is_a_recorded_cell(task: str) -> None:
    cells = cells_of(task)
    values = [one for members in cells.values() for one in members.values()]
    assert len(values) > 30 and all(0 <= figure <= 1 for one in values for figure in one)
