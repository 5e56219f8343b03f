"""The number of threads: the fewest that are about as fast as the fastest, found out once for a bundle and a chip."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.runtime import threads
from edgekit.runtime.errors import BadInput
from edgekit.runtime.threads import best_threads, parse_threads


@pytest.fixture(autouse=True)
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only work moves, four cores, and a place of its own for what is remembered."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(threads, "own_cores", lambda: 4)
    monkeypatch.setenv("EDGEKIT_KNOWN", str(tmp_path / "known"))
    return now


def begun(now: list[float], seconds: dict[int, float], asked: list[int]) -> Callable[[int], Callable[[], object]]:
    def begin(count: int) -> Callable[[], object]:
        asked.append(count)

        def work() -> None:
            now[0] += seconds[count]

        return work

    return begin


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 1.0, 2: 0.6, 4: 0.4}, 4),
        ({1: 1.0, 2: 0.51, 4: 0.5}, 2),
        ({1: 0.1, 2: 0.11, 4: 0.3}, 1),
        ({1: 1.0, 2: 0.97, 4: 0.96}, 1),
    ],
)
def test_the_fewest_that_are_about_as_fast(clock: list[float], seconds: dict[int, float], best: int) -> None:
    asked: list[int] = []
    assert best_threads("a" * 64, begun(clock, seconds, asked)) == best and asked == [1, 2, 4]
    assert best_threads("a" * 64, begun(clock, seconds, asked)) == best and asked == [1, 2, 4], "remembered"
    assert best_threads("b" * 64, begun(clock, seconds, asked)) == best and asked == [1, 2, 4] * 2, (
        "of another bundle it is not"
    )


def test_what_is_remembered_and_no_number_of_threads_is_found_out_again(clock: list[float], tmp_path: Path) -> None:
    asked: list[int] = []
    best_threads("a" * 64, begun(clock, {1: 1, 2: 1, 4: 1}, asked))
    (file,) = (tmp_path / "known").iterdir()
    for spoiled in (b"", b"zero", b"9", b"0", b"1" * 100, b"\xff"):
        file.write_bytes(spoiled)
        asked.clear()
        assert best_threads("a" * 64, begun(clock, {1: 1, 2: 1, 4: 1}, asked)) == 1 and asked == [1, 2, 4], spoiled


def test_one_core_needs_no_trial(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "own_cores", lambda: 1)
    assert best_threads("a" * 64, lambda count: pytest.fail("it tried")) == 1


def test_how_threads_are_written() -> None:
    assert [parse_threads(given, written=True) for given in (None, "auto", "3", 3)] == [None, "auto", 3, 3]
    for wrong in ("9" * 5000, "0", "-1", "many", "1.5", 0, -1, 1.5, True, ""):
        with pytest.raises(BadInput):
            parse_threads(wrong, written=True)
    with pytest.raises(BadInput, match="threads: '3'"):
        parse_threads("3")
