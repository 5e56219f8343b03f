"""Eight streams of one language model together, beside one alone: tokens a second, and the time between two tokens of a stream.

    python -m benchmarks.serve.together BUNDLE [--streams 8] [--tokens 256] [--rounds 5]

One server of each kind; every round asks it for one stream, for all at once, and for one again. Clients and server share the machine. Before
that the same without a server, by the time of the processor that one thread takes, which others who use the machine do not change much.
Writes together.json beside this file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import write_results
from benchmarks.serve.load_test import sample, say, started
from benchmarks.serve.page import HERE, write_page
from edgekit.host import detect
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.model import load
from edgekit.runtime.serve.limits import Limits
from edgekit.runtime.serve.together import together

OPENINGS = (
    "The city was founded in", "In the summer of 1912 the", "The album was released", "He was born in a small town", "The species is found",
    "The river flows", "After the war she", "The first season of the series",
)  # fmt: skip
KINDS: dict[str, tuple[tuple[str, ...], float]] = {
    "likeliest tokens, no guesses": (("--speculate", "off"), 0.0),
    "drawn tokens": ((), 1.0),
}
"""What is measured -> (flags of the server, temperature)."""


def main() -> None:
    """Measure the bundle on both servers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "together.json")
    asked = parser.parse_args()
    processor = by_processor(asked.bundle, asked.streams, asked.tokens, asked.rounds)
    cells = [
        measured(asked.bundle, server, kind, asked.streams, asked.tokens, asked.rounds, asked.threads)
        for server in ("edgekit", "runner.pyz")
        for kind in KINDS
    ]
    flags = f"--streams {asked.streams} --tokens {asked.tokens} --rounds {asked.rounds} --threads {asked.threads}"
    document = {
        "command": f"python -m benchmarks.serve.together {asked.bundle} {flags}",
        "machine": {"chip": detect().cpu, "cores": os.cpu_count()},
        "onnxruntime": metadata.version("onnxruntime"),
        "scheduling": {os.SCHED_OTHER: "as all others", os.SCHED_RR: "real time (chrt -r)"}.get(
            os.sched_getscheduler(0), "other"
        ),
        "streams": asked.streams,
        "tokens": asked.tokens,
        "rounds": asked.rounds,
        "threads": asked.threads,
        "processor": processor,
        "cells": cells,
    }
    write_results(asked.out, document)
    if asked.out == HERE / "together.json":
        write_page()


def measured(path: Path, server: str, kind: str, streams: int, tokens: int, rounds: int, threads: int) -> dict[str, Any]:
    """One server's figures."""
    name = open_bundle(path).manifest.name
    eos = (open_bundle(path).manifest.generation or _none()).eos
    flags, temperature = KINDS[kind]
    before = os.getloadavg()[0]
    with started(path, server, flags=(*flags, "--threads", str(threads))) as port, _first():
        ready = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=30).read())
        requests = [request(name, prompt, tokens, eos, temperature) for prompt in OPENINGS[:streams]]
        asyncio.run(several(port, requests))  # warm
        alone: list[list[float]] = []
        crowds: list[list[list[float]]] = []
        for number in range(rounds):
            for turn in range(2):
                alone += asyncio.run(several(port, [requests[(2 * number + turn) % streams]]))
                if turn == 0:
                    crowds.append(asyncio.run(several(port, requests)))
            say(f"  {server}, {kind}: round {number + 1} of {rounds}")
        memory = sample(port, "process_resident_memory_bytes")
    one = [(len(times) - 1) / (times[-1] - times[0]) for times in alone]
    all_of_them = [
        sum(len(times) - 1 for times in crowd) / (max(times[-1] for times in crowd) - min(times[0] for times in crowd))
        for crowd in crowds
    ]
    gaps, crowded = (
        np.concatenate([np.diff(times) for times in found]) for found in (alone, [one for crowd in crowds for one in crowd])
    )
    return {
        "bundle": name, "server": server, "kind": kind, "together": ready["together"], "load": [round(before, 1), round(os.getloadavg()[0], 1)],
        "alone": {"tokens_per_s": of(one), **percentiles(gaps)},
        "all": {"tokens_per_s": of(all_of_them), **percentiles(crowded)},
        "faster_by": round(float(np.median(all_of_them) / np.median(one)), 3),
        "p99_by": round(float(np.percentile(crowded, 99) / np.percentile(gaps, 99)), 3),
        "memory_mb": round(memory / 1e6, 1),
    }  # fmt: skip


def by_processor(path: Path, streams: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Seconds of the processor that tokens take in a batch of one thread, without a server: alone, and with all streams at once."""
    model = load(path, threads=1, speculate="off")
    batch = together(model, Limits(together=streams))
    if isinstance(batch, str) or model.language is None:
        raise SystemExit(f"answers one after another: {batch}")
    eos = model.language.generation.eos
    sampling = Sampling(max_new_tokens=tokens, logit_bias=tuple((number, -100.0) for number in eos))

    def steps(prompts: Sequence[str]) -> list[float]:
        """Seconds of each step in which every one of the answers got a token."""
        answers = [batch.stream(prompt, sampling) for prompt in prompts]
        times: list[float] = []
        while answers:
            start = time.thread_time()
            got = []
            for answer in [*answers]:
                piece = next(answer)
                got.append(piece)
                if piece is not None and (piece.ended is not None or next(answer) is not None):
                    answers.remove(answer)
            batch.step()
            if len(got) == len(prompts) and None not in got:
                times.append(time.thread_time() - start)
        return times

    steps(OPENINGS[:streams])
    alone: list[float] = []
    crowd: list[float] = []
    for number in range(rounds):
        alone += steps([OPENINGS[number % streams]])
        crowd += steps(OPENINGS[:streams])
        alone += steps([OPENINGS[-1 - number % streams]])
    return {
        "alone": percentiles(np.array(alone)),
        "all": percentiles(np.array(crowd)),
        "faster_by": round(streams * float(np.median(alone) / np.median(crowd)), 3),
        "p99_by": round(float(np.percentile(crowd, 99) / np.percentile(alone, 99)), 3),
    }


def _none() -> Any:
    raise SystemExit("no language model")


@contextmanager
def _first() -> Iterator[None]:
    """At real-time priority, the clients come before the server: turns of equals last 100 ms there."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    if policy == os.SCHED_RR:
        os.sched_setscheduler(0, policy, os.sched_param(priority.sched_priority + 1))
    try:
        yield
    finally:
        if policy == os.SCHED_RR:
            os.sched_setscheduler(0, policy, priority)


def of(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest over rounds."""
    return {"median": round(float(np.median(values)), 1), "least": round(min(values), 1), "most": round(max(values), 1)}


def percentiles(gaps: np.ndarray) -> dict[str, float]:
    """Milliseconds between two tokens of a stream, as its client saw them."""
    return {f"p{level}_ms": round(float(np.percentile(gaps, level)) * 1000, 3) for level in (50, 95, 99)}


def request(name: str, prompt: str, tokens: int, eos: Sequence[int], temperature: float) -> bytes:
    """For a stream of exactly so many tokens."""
    bias = {str(number): -100 for number in eos}
    body = {
        "model": name, "prompt": prompt, "max_tokens": tokens, "temperature": temperature, "seed": 7, "stream": True,
        "logit_bias": bias,
    }  # fmt: skip
    data = json.dumps(body).encode()
    names = f"Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    return f"POST /v1/completions HTTP/1.1\r\n{names}\r\n\r\n".encode() + data


async def several(port: int, requests: Sequence[bytes]) -> list[list[float]]:
    """When the tokens of each stream arrived, of all that were asked at once."""
    return await asyncio.gather(*(stream(port, one) for one in requests))


async def stream(port: int, data: bytes) -> list[float]:
    """When the tokens of one arrived, those of one packet at the same time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    times: list[float] = []
    rest = b""
    while part := await reader.read(65_536):
        now = time.perf_counter()
        rest += part
        events = rest.count(b'"text":')
        times += [now] * (events - len(times))
    writer.close()
    if b"data: [DONE]" not in rest:
        raise SystemExit(f"not a whole stream: {rest[:500]!r}")
    return times


if __name__ == "__main__":
    main()
