"""How a model fares under requests that do not wait for one another: paced, at random moments, and from several clients.

Each function takes `one()`, which answers one request. Latency counts from the moment a request was meant to arrive, so
that waiting behind an earlier one is seen (Tene's "coordinated omission").
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["closed_loop", "open_loop", "paced"]


def paced(
    one: Callable[[], object], hertz: float, seconds: float, *, clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep, cpu: Callable[[], float] = time.process_time,
) -> dict[str, Any]:  # fmt: skip
    """A request every 1 / `hertz` seconds, as a sensor sends them; adds `cpu_ms`, CPU time an inference, waiting included."""
    count = max(2, round(hertz * seconds))
    used = cpu()
    latencies = _served(one, np.arange(count) / hertz, clock, sleep)
    return {"hertz": hertz, **_figures(latencies), "cpu_ms": (cpu() - used) / count * 1000}


def open_loop(
    one: Callable[[], object], rate: float, seconds: float, seed: int, *,
    clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:  # fmt: skip
    """Poisson arrivals at `rate` a second for about `seconds`, served in order by one worker."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=max(2, round(rate * seconds)))
    return {"rate": rate, **_figures(_served(one, np.cumsum(gaps), clock, sleep))}


def closed_loop(one: Callable[[], object], clients: int, seconds: float) -> dict[str, Any]:
    """`clients` threads that each send their next request when the last is answered; adds `per_second` of all together.

    Raises:
        Exception: whatever `one` raised in a client.
    """
    latencies: list[list[float]] = [[] for _ in range(clients)]
    faults: list[Exception] = []
    ready = threading.Barrier(clients)

    def client(mine: list[float]) -> None:
        try:
            ready.wait()
            until = time.perf_counter() + seconds
            while not mine or time.perf_counter() < until:
                started = time.perf_counter()
                one()
                mine.append(time.perf_counter() - started)
        except Exception as fault:  # a thread's fault is raised again by its owner, below
            faults.append(fault)

    threads = [threading.Thread(target=client, args=(mine,)) for mine in latencies]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    every = [latency for mine in latencies for latency in mine]
    return {"clients": clients, **_figures(every), "per_second": len(every) / (time.perf_counter() - started)}


def _served(
    one: Callable[[], object], arrivals: np.ndarray, clock: Callable[[], float], sleep: Callable[[float], None]
) -> list[float]:
    """Seconds from each intended arrival (seconds from now) to its answer."""
    begun = clock()
    latencies = []
    for arrival in arrivals.tolist():
        wait = begun + arrival - clock()
        if wait > 0:
            sleep(wait)
        one()
        latencies.append(clock() - begun - arrival)
    return latencies


def _figures(latencies: Sequence[float]) -> dict[str, Any]:
    """Number and percentiles, in milliseconds."""
    p50, p90 = np.percentile(latencies, [50, 90])
    return {"n": len(latencies), "p50_ms": float(p50) * 1000, "p90_ms": float(p90) * 1000}
