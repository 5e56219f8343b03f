"""How much load the servers hold: latency when idle, then under rising load, then a minute at saturation with everything counted.

    python -m benchmarks.serve.load_test build/clinc150-x86-vnni build/stsb-x86-vnni build/reference-lm-x86-vnni

Writes results.json and README.md beside itself. Client and server share the machine; a quiet one with two cores is wanted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import write_results
from benchmarks.serve.client import Tally, at_rate, one_by_one, saturated
from benchmarks.serve.page import CLIENTS, HERE, NEW_TOKENS, PAUSE, STEP, write_page
from edgekit.host import detect
from edgekit.pack.runner import write_runner
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.model import load

IDLE = 200
"""Requests one by one, a pause of PAUSE seconds before each."""
OVER = 5
"""Times the idle p99 at which a server counts as overwhelmed: at low rates a shared machine alone reaches twice."""
LONGEST_TEXT = 200


def main() -> None:
    """Measure every bundle on both servers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="at each rate")
    parser.add_argument("--saturation", type=float, default=60.0, help="seconds at saturation")
    parser.add_argument(
        "--rates", type=float, nargs="+", help="requests a second; without: rising until the server is overwhelmed"
    )
    parser.add_argument("--pinned", action="store_true", help="the server on the first core, the clients on the last")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    asked = parser.parse_args()
    cells = []
    cores: set[int] | None = None
    if asked.pinned:
        first, *_, last = sorted(os.sched_getaffinity(0))
        cores = {first}
        os.sched_setaffinity(0, {last})
    for path in asked.bundles:
        for server in ("edgekit", "runner.pyz"):
            cells.append(measure(path, server, asked.seconds, asked.saturation, cores, asked.rates))
            say(f"{cells[-1]['bundle']} on {server}: {cells[-1]['held_per_second']} a second held")
    document = {
        "command": f"python -m benchmarks.serve.load_test {' '.join(str(path) for path in asked.bundles)}"
        f" --seconds {asked.seconds:g} --saturation {asked.saturation:g}{' --pinned' if asked.pinned else ''}"
        + (f" --rates {' '.join(f'{rate:g}' for rate in asked.rates)} --out {asked.out.name}" if asked.rates else ""),
        "machine": {"chip": detect().cpu, "cores": os.cpu_count()},
        "cells": cells,
    }
    write_results(asked.out, document)
    if asked.out == HERE / "results.json":
        write_page()


def measure(
    path: Path, server: str, seconds: float, saturation: float, cores: set[int] | None = None, given: list[float] | None = None
) -> dict[str, Any]:
    """One bundle on one server, which runs on `cores`; None: on all. `given`: the rates, where they do not rise by themselves."""
    load_before = os.getloadavg()[0]
    requests, typical, alone = prepared(path)
    with started(path, server, cores) as port:
        asyncio.run(one_by_one(port, typical, IDLE // 4, 0.0))  # warm
        idle = figures(asyncio.run(one_by_one(port, typical, IDLE, PAUSE)))
        say(f"  idle {idle['p50_ms']:.2f} ms")
        rates = steady(port, typical, given, seconds) if given else rising(port, typical, idle, seconds)
        full = at_saturation(port, requests, saturation)
    return {
        "bundle": open_bundle(path).manifest.name, "task": open_bundle(path).manifest.task, "server": server, "load_before": load_before,
        "model_alone_p50_ms": alone, "idle": idle, "rates": rates, "saturation": full,
        "held_per_second": highest(rates, idle["p99_ms"]), "held_per_second_median": highest(rates, idle["p50_ms"]),
    }  # fmt: skip


def rising(port: int, typical: bytes, idle: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    """Figures at each rate, until two in a row have a p99 of OVER times that of `idle` or more, or a request that was not answered."""
    rates: list[dict[str, Any]] = []
    rate, over = 0.05 * 1000 / idle["p50_ms"], 0
    while over < 2:
        found = figures(asyncio.run(at_rate(port, typical, rate, seconds, len(rates))))
        rates.append({"per_second": round(rate, 2), **found})
        over = 0 if highest(rates[-1:], idle["p99_ms"] * OVER / 2) else over + 1
        say(f"  {rate:.1f} a second: p99 {found['p99_ms']:.2f} ms")
        rate *= STEP
    return rates


def steady(port: int, typical: bytes, given: list[float], seconds: float) -> list[dict[str, Any]]:
    """Figures at each of the rates `given`."""
    return [
        {"per_second": rate, **figures(asyncio.run(at_rate(port, typical, rate, seconds, number)))}
        for number, rate in enumerate(given)
    ]


def highest(rates: list[dict[str, Any]], idle_ms: float) -> float | None:
    """The highest rate at which all was answered with a p99 under twice `idle_ms`."""
    return max(
        (one["per_second"] for one in rates if set(one["statuses"]) == {"200"} and one["p99_ms"] < 2 * idle_ms), default=None
    )


def at_saturation(port: int, requests: list[bytes], seconds: float) -> dict[str, Any]:
    """CLIENTS at once: counts of both sides, and the server's memory each second."""
    memory: list[int] = []

    async def both() -> Tally:
        work = asyncio.ensure_future(saturated(port, requests, CLIENTS, seconds))
        while not work.done():
            memory.append(round(await asyncio.to_thread(sample, port, "process_resident_memory_bytes")))
            await asyncio.wait((work,), timeout=1.0)
        return work.result()

    before = counted(port)
    began = time.perf_counter()
    tally = asyncio.run(both())
    took = time.perf_counter() - began
    server = {status: count - before.get(status, 0) for status, count in counted(port).items()}
    tenth = max(1, len(memory) // 10)
    start, end = (round(float(np.median(part)) / 1e6, 1) for part in (memory[tenth : 2 * tenth + 1], memory[-tenth:]))
    return {
        **figures(tally), "seconds": round(took, 1), "clients": CLIENTS, "answered_per_second": round(tally.statuses["200"] / took, 1),
        "counted_by_server": {status: count for status, count in sorted(server.items()) if count},
        "nothing_lost": set(tally.statuses) <= {"200", "503"} and dict(tally.statuses) == {k: v for k, v in server.items() if v},
        "memory_mb": {"start": start, "end": end, "highest": round(max(memory) / 1e6, 1)},
    }  # fmt: skip


def prepared(path: Path) -> tuple[list[bytes], bytes, float]:
    """(requests of the bundle's golden inputs, that of the input of median length, median ms that it takes the model alone, here)."""
    model = load(path)
    manifest = model.bundle.manifest
    golden = json.loads((model.bundle.folder / manifest.golden.file).read_text(encoding="utf-8"))
    items = sorted(
        (row["input"] for row in golden["rows"] if len(str(row["input"])) <= LONGEST_TEXT), key=lambda item: len(str(item))
    )
    middle = len(items) // 2
    if model.language is not None:
        address = "/v1/completions"
        bodies: list[dict[str, Any]] = [
            {"model": manifest.name, "prompt": item, "max_tokens": NEW_TOKENS, "temperature": 0} for item in items
        ]
    else:
        address = f"/v2/models/{manifest.name}/infer"
        named = [item if isinstance(item, dict) else {"text": item} for item in items]
        bodies = [
            {"inputs": [{"name": key, "datatype": "BYTES", "shape": [1], "data": [text]} for key, text in one.items()]}
            for one in named
        ]
    requests = []
    for body in bodies:
        data = json.dumps(body).encode()
        head = f"POST {address} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        requests.append(head.encode() + data)
    seconds = []
    for _ in range(IDLE):
        began = time.perf_counter()
        if model.language is not None:
            model.language.generate(items[middle], Sampling(max_new_tokens=NEW_TOKENS))
        else:
            model(items[middle])
        seconds.append(time.perf_counter() - began)
    return requests, requests[middle], round(float(np.median(seconds)) * 1000, 3)


@contextmanager
def running(
    path: Path, server: str, cores: set[int] | None = None, flags: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[str], int, Callable[[], str]]]:
    """(process, port, all that it has said) of a server that is ready, started with `flags`, on `cores`; None: on all."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from edgekit.cli.app import main; main()"]
        if server != "edgekit":
            write_runner(Path(folder) / "runner.pyz")
            command = [sys.executable, str(Path(folder) / "runner.pyz")]
        if cores is not None:
            command = ["taskset", "-c", ",".join(map(str, sorted(cores))), *command]
        log = Path(folder) / "said.txt"
        with log.open("w", encoding="utf-8") as out:
            process = subprocess.Popen([*command, "serve", str(path), "--port", "0", *flags], stderr=out, text=True)
        try:
            while "ready: " not in (said := log.read_text(encoding="utf-8")):
                if process.poll() is not None:
                    sys.exit(f"the server did not start: {said}")
                time.sleep(0.05)
            found = re.search(r"http://127\.0\.0\.1:(\d+) ", said)
            assert found is not None, said
            yield process, int(found[1]), lambda: log.read_text(encoding="utf-8")
        finally:
            process.kill()
            process.wait()


@contextmanager
def started(path: Path, server: str, cores: set[int] | None = None, flags: Sequence[str] = ()) -> Iterator[int]:
    """The port of a server that is ready; it must end well."""
    with running(path, server, cores, flags) as (process, port, said):
        yield port
        process.terminate()
        if process.wait(60) != 0:
            sys.exit(f"the server ended with {process.returncode}: {said()}")


def metrics(port: int) -> str:
    """The server's page of counters."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        return str(response.read().decode())


def sample(port: int, name: str) -> float:
    """One counter."""
    return float(next(line.split(" ")[1] for line in metrics(port).splitlines() if line.split(" ")[0] == name))


def counted(port: int) -> dict[str, int]:
    """Requests for the model by status, as the server counts them."""
    form = r'^edgekit_requests_total\{route="(?:infer|completions|none)",status="(\d+)"\} (\d+)$'
    found: dict[str, int] = {}
    for status, count in re.findall(form, metrics(port), re.MULTILINE):
        found[status] = found.get(status, 0) + int(count)
    return found


def figures(tally: Tally) -> dict[str, Any]:
    """Counts by status, and percentiles in milliseconds of what was answered."""
    if not tally.seconds:
        sys.exit(f"no request was answered: {dict(tally.statuses)}")
    p50, p99 = np.percentile(tally.seconds, [50, 99])
    return {
        "statuses": dict(sorted(tally.statuses.items())), "p50_ms": round(float(p50) * 1000, 3), "p99_ms": round(float(p99) * 1000, 3)
    }  # fmt: skip


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
