"""Mixed traffic with faults, for long, on both servers at once: is any answer wrong, any request lost, and does memory grow?

    python -m benchmarks.serve.soak build/intents-x86-vnni build/reference-lm-x86-vnni --minutes 30

Writes soak.json beside itself (`python -m benchmarks.serve.page` makes the page of it), and exits 1 where anything was wrong or lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import write_results
from benchmarks.serve.load_test import prepared, running, sample
from edgekit.host import detect
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.serve.limits import Limits

HERE = Path(__file__).resolve().parent
SERVERS = ("edgekit", "runner.pyz")
WANTED = 30
"""Minutes of a whole soak; a shorter one says how long it was."""
CLIENTS = 12
"""Of each server, that ask soundly; beside them there is one of each kind of fault."""
PAUSE = 0.05
"""Mean seconds between two requests of a client."""
PATIENCE = 60.0
"""Seconds after which a request without an answer is lost."""
SAMPLE = 5.0
"""Seconds between two readings of memory."""
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Soak:
    """One server under traffic, and what came of it."""

    port: int
    pid: int
    requests: list[bytes]
    until: float
    wanted: dict[int, bytes] = field(default_factory=dict)
    """Number of a request -> the answer to it, asked alone before the soak."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Of sound requests, and of half-closed ones."""
    faults: Counter[str] = field(default_factory=Counter)
    """What was done to the server, by kind and outcome."""
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    """Descriptors that the server holds."""

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until


async def connect(soak: Soak) -> Ends:
    return await asyncio.open_connection("127.0.0.1", soak.port)


async def answer(reader: asyncio.StreamReader) -> tuple[str, bytes, bool]:
    """(status, body, whether the connection goes on) of one response; interim ones are passed over."""
    head = await reader.readuntil(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head = await reader.readuntil(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    body = await reader.readexactly(int(headers[b"content-length"]))
    return head[9:12].decode(), body, headers.get(b"connection") != b"close"


def check(soak: Soak, number: int, status: str, body: bytes, kind: str) -> None:
    """Count an answer to a sound request: that which it got alone, or a refusal: 503, or 408 where this busy machine kept the client from sending."""
    soak.statuses[status] += 1
    if status not in ("200", "408", "503") or (status == "200" and content(body) != soak.wanted[number]):
        soak.wrong.append(f"{kind} {number}: {status} {body[:200]!r}")


def content(body: bytes) -> bytes:
    """A response without what is new in each: a completion's id and time, and how many of its tokens were guessed, which depends on the time that
    guesses save just then."""
    document = json.loads(body)
    document.get("usage", {}).pop("completion_tokens_details", None)
    return json.dumps(
        {name: value for name, value in document.items() if name not in ("id", "created")}, sort_keys=True
    ).encode()


async def sound(soak: Soak, draw: random.Random) -> None:
    """Asks again and again, on a connection that stays open."""
    ends: Ends | None = None
    while not soak.over:
        number = draw.randrange(len(soak.requests))
        try:
            async with asyncio.timeout(PATIENCE):
                ends = ends or await connect(soak)
                ends[1].write(soak.requests[number])
                status, body, more = await answer(ends[0])
        except (OSError, EOFError, TimeoutError) as fault:
            soak.lost.append(f"sound {number}: {fault!r}")
            status, body, more = "", b"", False
        if status:
            check(soak, number, status, body, "sound")
        if ends is not None and not more:
            ends[1].close()
            ends = None
        await asyncio.sleep(draw.expovariate(1 / PAUSE))
    if ends is not None:
        ends[1].close()


async def half_closed(soak: Soak, draw: random.Random) -> str:
    """Says all it has to say, closes its side, and waits for the answer."""
    number = draw.randrange(len(soak.requests))
    reader, writer = await connect(soak)
    try:
        writer.write(soak.requests[number])
        with suppress(OSError):  # refused with 503 at once and closed: the answer is there to be read
            writer.write_eof()
        status, body, _ = await answer(reader)
        check(soak, number, status, body, "half closed")
        return status
    except (OSError, EOFError) as fault:
        soak.lost.append(f"half closed {number}: {fault!r}")
        return "lost"
    finally:
        writer.close()


async def slow(soak: Soak, draw: random.Random) -> str:
    """Sends a request piece by piece; it is sound, unless the machine is so busy that its head takes longer than a server waits."""
    number = draw.randrange(len(soak.requests))
    reader, writer = await connect(soak)
    request, step, began = soak.requests[number], draw.choice((7, 40)), time.monotonic()
    answered = asyncio.ensure_future(answer(reader))
    try:
        for start in range(0, len(request), step):
            if answered.done():
                break
            writer.write(request[start : start + step])
            await asyncio.sleep(0.05)
        status, body, _ = await answered
        if status != "408" or time.monotonic() - began < Limits().head_seconds:
            check(soak, number, status, body, "slow")
        return status
    except (OSError, EOFError) as fault:
        soak.lost.append(f"slow {number} after {time.monotonic() - began:.1f} s: {fault!r}")
        return "lost"
    finally:
        answered.cancel()
        writer.close()


async def silent(soak: Soak, draw: random.Random) -> str:
    """Begins a request and sends no more, for a while."""
    _, writer = await connect(soak)
    request = draw.choice(soak.requests)
    writer.write(request[: draw.randrange(len(request))])
    await asyncio.sleep(draw.uniform(1, 15))
    writer.close()
    return "left"


async def deaf(soak: Soak, draw: random.Random) -> str:
    """Asks for much, many times at once, and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.setblocking(False)
    with client:
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", soak.port))
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.get_running_loop().sock_sendall(
                    client, b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40
                )
        await asyncio.sleep(draw.uniform(1, 5))
    return "left"


async def killed(soak: Soak, draw: random.Random) -> str:
    """Is gone in the middle, with a reset: of its head, its body, or the wait for its answer."""
    _, writer = await connect(soak)
    client = writer.get_extra_info("socket")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request = draw.choice(soak.requests)
    writer.write(request[: draw.choice((len(request), draw.randrange(1, len(request))))])
    await asyncio.sleep(draw.choice((0.0, 0.002, 0.02)))
    writer.transport.abort()
    return "reset"


async def bad(soak: Soak, draw: random.Random) -> str:
    """Sends what must be refused."""
    data, wanted = draw.choice(BAD)
    reader, writer = await connect(soak)
    try:
        writer.write(data)
        status, body, _ = await answer(reader)
        if status not in (wanted, "408", "503"):
            soak.wrong.append(f"bad: {status} instead of {wanted}: {data[:80]!r}: {body[:200]!r}")
        return status
    except (OSError, EOFError) as fault:
        soak.lost.append(f"bad: {fault!r} to {data[:80]!r}")
        return "lost"
    finally:
        writer.close()


async def flood(soak: Soak, draw: random.Random) -> str:
    """Opens more connections than there may be, and leaves."""
    found = await asyncio.gather(*(connect(soak) for _ in range(300)), return_exceptions=True)
    await asyncio.sleep(0.2)
    for one in found:
        if not isinstance(one, BaseException):
            one[1].close()
    await asyncio.sleep(10)
    return "left"


FAULTS: dict[str, Callable[[Soak, random.Random], Awaitable[str]]] = {
    "half closed": half_closed, "slow": slow, "silent": silent, "deaf": deaf, "killed": killed, "bad": bad, "flood": flood,
}  # fmt: skip
INFER = b"POST /v2/models/none/infer HTTP/1.1\r\nHost: localhost\r\n"
BAD = [
    (INFER + b"Content-Length: 2\r\n\r\n{}", "404"),
    (b"BREW /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n", "405"),
    (b"GET /v2 HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"),
    (b"GET /v2 HTTP/1.1\r\n\r\n", "400"),
    (b"GET /v2 HTTP/1.1\nHost: localhost\n\n", "400"),
    (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "400"),
    (INFER + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", "400"),
    (INFER + b"Content-Length: -1\r\n\r\n", "400"),
    (INFER + b"X: " + b"x" * 20_000 + b"\r\n\r\n", "431"),
    (INFER + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000, "413"),
    (INFER + b"Transfer-Encoding: chunked\r\n\r\n" + b"fffff\r\n" + b"x" * 0xFFFFF + b"\r\n5\r\nabcde\r\n0\r\n\r\n", "413"),
]


async def harm(soak: Soak, kind: str, draw: random.Random) -> None:
    """One kind of fault, again and again."""
    while not soak.over:
        try:
            async with asyncio.timeout(PATIENCE):
                outcome = await FAULTS[kind](soak, draw)
        except OSError:
            outcome = "not connected"
        except TimeoutError:
            soak.lost.append(f"{kind}: no end within {PATIENCE:g} s")
            outcome = "lost"
        soak.faults[f"{kind}: {outcome}"] += 1
        await asyncio.sleep(draw.expovariate(1 / (4 * PAUSE)))


async def watch(soak: Soak) -> None:
    """Memory and descriptors of the server."""
    while not soak.over:
        with suppress(OSError, StopIteration):  # refused, as too many are connected
            soak.memory.append(round(await asyncio.to_thread(sample, soak.port, "process_resident_memory_bytes")))
            soak.files.append(len(os.listdir(f"/proc/{soak.pid}/fd")))  # noqa: PTH208
        await asyncio.sleep(SAMPLE)


async def alone(soak: Soak) -> None:
    """The answer to each request, while nobody else asks."""
    reader, writer = await connect(soak)
    for number, request in enumerate(soak.requests):
        writer.write(request)
        status, body, _ = await answer(reader)
        assert status == "200", body
        soak.wanted[number] = content(body)
    writer.close()


async def soaked(soak: Soak, seed: int) -> None:
    """All traffic on one server, until the time is over."""
    await alone(soak)
    work = [sound(soak, random.Random(f"{seed}-{number}")) for number in range(CLIENTS)]
    work += [harm(soak, kind, random.Random(f"{seed}-{kind}")) for kind in FAULTS]
    await asyncio.gather(*work, watch(soak))
    soak.until = time.monotonic() + PATIENCE
    await alone(soak)  # nothing is left that changes an answer


async def one_server(path: Path, server: str, minutes: float, seed: int) -> dict[str, Any]:
    """One bundle on one server, from its start to its end."""
    requests = (await asyncio.to_thread(prepared, path))[0]
    with running(path, server) as (process, port, said):
        soak = Soak(port, process.pid, requests, time.monotonic() + minutes * 60)
        began = time.monotonic()
        await soaked(soak, seed)
        seconds = time.monotonic() - began
        process.terminate()
        code = await asyncio.to_thread(process.wait, PATIENCE)
        text = said()
    tenth = max(1, len(soak.memory) // 10)
    start, end = (float(np.median(part)) for part in (soak.memory[tenth : 2 * tenth + 1], soak.memory[-tenth:]))
    cell = {
        "bundle": open_bundle(path).manifest.name, "server": server, "seconds": round(seconds), "sound": dict(sorted(soak.statuses.items())),
        "faults": dict(sorted(soak.faults.items())), "wrong": len(soak.wrong), "lost": len(soak.lost),
        "examples": [*soak.wrong[:5], *soak.lost[:5]], "memory_mb": {"start": round(start / 1e6, 1), "end": round(end / 1e6, 1), "highest":
        round(max(soak.memory) / 1e6, 1)}, "descriptors": {"start": soak.files[0], "end": soak.files[-1], "highest": max(soak.files)},
        "exit_code": code, "tracebacks": text.count("Traceback"),
    }  # fmt: skip
    print(json.dumps(cell), file=sys.stderr, flush=True)
    return cell


async def everything(paths: list[Path], minutes: float) -> list[dict[str, Any]]:
    """All bundles on both servers at once."""
    cells = [(path, server) for path in paths for server in SERVERS]
    return list(await asyncio.gather(*(one_server(*cell, minutes, seed) for seed, cell in enumerate(cells))))


def main() -> None:
    """Soak; exit 1 where anything was wrong or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--minutes", type=float, default=WANTED)
    parser.add_argument("--out", type=Path, default=HERE / "soak.json")
    asked = parser.parse_args()
    cells = asyncio.run(everything(asked.bundles, asked.minutes))
    document = {
        "command": f"python -m benchmarks.serve.soak {' '.join(map(str, asked.bundles))} --minutes {asked.minutes:g}",
        "machine": {"chip": detect().cpu, "cores": os.cpu_count()},
        "minutes": asked.minutes,
        "minutes_wanted": WANTED,
        "wrong": sum(cell["wrong"] for cell in cells),
        "lost": sum(cell["lost"] for cell in cells),
        "cells": cells,
    }
    write_results(asked.out, document)
    fine = not document["wrong"] and not document["lost"]
    sys.exit(0 if fine and all(cell["exit_code"] == 0 and not cell["tracebacks"] for cell in cells) else 1)


if __name__ == "__main__":
    main()
