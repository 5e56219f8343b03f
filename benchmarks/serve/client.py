"""A client that asks a server at a given rate, or as fast as it answers, over connections that stay open."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

CONNECTIONS = 64
"""Open at once when requests come at a rate."""
LEAST = 400
"""Requests at any rate: of fewer, the 99th percentile is little more than the worst."""
LONGEST_WAIT = 1.0
"""Seconds that a refused client waits at most, whatever Retry-After says."""


@dataclass
class Tally:
    """What came back."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """Of each request answered 200, from the moment it was meant to be sent."""


class Connection:
    """One connection; asks one request after another."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Connect, so that the first request does not pay for it."""
        self._ends = await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, request: bytes) -> tuple[str, float]:
        """(status, seconds of Retry-After) of `request`; "lost" where the connection ended without an answer."""
        try:
            if self._ends is None:
                await self.open()
            assert self._ends is not None, "it is open now"
            reader, writer = self._ends
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            await reader.readexactly(int(headers[b"content-length"]))
            if headers.get(b"connection") == b"close":
                self.close()
            return head[9:12].decode(), float(headers.get(b"retry-after", 0))
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return "lost", 0.0

    def close(self) -> None:
        if self._ends is not None:
            self._ends[1].close()
            self._ends = None


async def one_by_one(port: int, request: bytes, count: int, pause: float) -> Tally:
    """`request` again and again, `pause` seconds after each answer."""
    tally = Tally()
    connection = Connection(port)
    for _ in range(count):
        await asyncio.sleep(pause)
        began = time.perf_counter()
        status, _ = await connection.ask(request)
        tally.statuses[status] += 1
        if status == "200":
            tally.seconds.append(time.perf_counter() - began)
    connection.close()
    return tally


async def at_rate(port: int, request: bytes, rate: float, seconds: float, seed: int) -> Tally:
    """Poisson arrivals at `rate` a second for about `seconds`, or longer. Latency counts from the arrival that was meant, so waiting is seen."""
    tally = Tally()
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=max(LEAST, round(rate * seconds)))
    arrivals = np.cumsum(gaps).tolist()
    connections = [Connection(port) for _ in range(min(CONNECTIONS, len(arrivals)))]
    for connection in connections:
        await connection.open()
    begun = time.perf_counter()
    turn = iter(arrivals)

    async def client(connection: Connection) -> None:
        for arrival in turn:
            wait = begun + arrival - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            status, _ = await connection.ask(request)
            tally.statuses[status] += 1
            if status == "200":
                tally.seconds.append(time.perf_counter() - begun - arrival)
        connection.close()

    await asyncio.gather(*map(client, connections))
    return tally


async def saturated(port: int, requests: list[bytes], clients: int, seconds: float) -> Tally:
    """`clients` that ask again when answered, for `seconds`; one that is refused waits as it is told."""
    tally = Tally()
    until = time.perf_counter() + seconds

    async def client(number: int) -> None:
        connection = Connection(port)
        while time.perf_counter() < until:
            began = time.perf_counter()
            status, wait = await connection.ask(requests[number % len(requests)])
            number += clients
            tally.statuses[status] += 1
            if status == "200":
                tally.seconds.append(time.perf_counter() - began)
            elif wait:
                await asyncio.sleep(min(wait, LONGEST_WAIT))
        connection.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return tally
