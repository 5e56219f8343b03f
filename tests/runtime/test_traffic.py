"""Latency counts from the intended arrival; proven with a clock that only moves when told."""

from __future__ import annotations

import threading

import pytest

from edgekit.runtime.bench.traffic import closed_loop, open_loop, paced
from tests.waiting import PATIENCE_SECONDS


class Clock:
    """A clock that moves by sleeping and by working."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


def test_paced_requests_that_keep_up() -> None:
    clock = Clock()
    found = paced(lambda: clock.move(0.02), 10, 2.0, clock=clock, sleep=clock.move, cpu=clock)
    assert found["n"] == 20
    assert found["p50_ms"] == pytest.approx(20)
    assert clock.now == pytest.approx(100 + 1.92)


def test_a_queue_is_seen() -> None:
    clock = Clock()
    found = paced(lambda: clock.move(0.2), 10, 1.0, clock=clock, sleep=clock.move, cpu=lambda: 0.0)
    assert found["p90_ms"] > 1000 > 200, "each request waits behind all earlier ones"
    assert found["cpu_ms"] == 0


def test_poisson_arrivals_repeat_for_a_seed() -> None:
    def measured(seed: int) -> dict[str, float]:
        clock = Clock()
        return open_loop(lambda: clock.move(0.005), 100, 2.0, seed, clock=clock, sleep=clock.move)

    assert measured(1) == measured(1) != measured(2)
    assert measured(1)["n"] == 200
    assert measured(1)["p90_ms"] > 5.0


def test_clients_run_at_once() -> None:
    together = threading.Barrier(2, timeout=PATIENCE_SECONDS)
    found = closed_loop(together.wait, 2, 0.0)
    assert found["clients"] == 2 and found["n"] == 2 and found["per_second"] > 0


def test_a_fault_in_a_client_is_raised() -> None:
    def broken() -> None:
        raise ValueError("no answer")

    with pytest.raises(ValueError, match="no answer"):
        closed_loop(broken, 2, 0.05)
