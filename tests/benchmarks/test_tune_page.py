"""The page of how good the search is, made from its results; and the volume that these are given in."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.tune.lookup import TASKS, cells_of
from benchmarks.tune.page import HERE, hypervolume, sampled, side_by_side, write_page


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


def trial(values: tuple[float, float, float] | None, ended: int = 0, **said: object) -> dict[str, object]:
    """A trial as studies.py writes it."""
    return {"values": values, "said": said, "began": "2026-01-01 00:00:00", "ended": f"2026-01-01 00:{ended:02}:00"}


def test_samplers_are_read_by_the_trials_that_cost_something() -> None:
    good, poor, best = (0.8, 0.5, 5.0), (0.7, 1.0, 10.0), (0.9, 0.25, 2.5)
    studies = {
        **{f"a-random-{seed}": [trial(poor), trial(poor, refused="no"), trial(None, stopped="early"), trial(good), trial(good, same_as=3),
                                    trial(good)] for seed in (1, 2, 3)},
        **{f"a-tpe-{seed}": [trial(good), trial(best), trial(poor), trial(poor)] for seed in (1, 2, 3)},
    }  # fmt: skip
    read = sampled({"studies": studies})["a"]
    assert (read["trials"], read["seeds"]) == (4, 3)
    assert read["middle"]["tpe"] == [pytest.approx(0.5 * 0.5 * (5 / 7.5)), 1, 1, 1]
    assert read["middle"]["random"] == [0, 0, read["middle"]["tpe"][0], read["middle"]["tpe"][0]]
    assert read["to_goal"] == {"random": 3, "tpe": 1}
    assert sampled({"studies": {"a-tpe-1": [], "a-random-1": []}}) == {}


def test_workers_are_read_until_the_first_of_both_ended() -> None:
    def numbered(ends: list[int], seconds: list[float], rungs: list[int]) -> list[dict[str, object]]:
        return [
            {**trial((1, 1, 1), ended, seconds=took, rungs=[{}] * many), "number": number, "drawn": {"x": number}}
            for number, (ended, took, many) in enumerate(zip(ends, seconds, rungs, strict=True))
        ]

    one = numbered([10, 20, 30], [600, 600, 600], [3, 1, 1])
    two = numbered([10, 11, 20, 21, 30, 40], [600, 660, 600, 600, 540, 600], [3, 3, 1, 1, 1, 1])
    two.append({**trial((1, 1, 1), 5, same_as=1), "number": 6, "drawn": {}})
    read = side_by_side({"studies": {"one": one, "first of two": two, "second of two": two}})
    assert read is not None and (read["counts"], read["minutes"]) == ([3, 5], 30)
    assert (read["alike"], read["alike_times"], read["first"], read["first_times"]) == (
        2,
        pytest.approx(2),
        3,
        pytest.approx(1.5),
    )
    assert side_by_side({"studies": {"one": one, "first of two": []}}) is None
