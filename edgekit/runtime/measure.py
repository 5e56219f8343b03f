"""One fresh process of a benchmark: it times its own start, load, first run and warm runs, and prints one JSON line.

`python -m edgekit.runtime.measure SPEC.json`; the supervisor passes the moment it started the process in EDGEKIT_SPAWNED_NS
(CLOCK_MONOTONIC, which processes of one machine share).
"""

from __future__ import annotations

import time

ENTERED_NS = time.clock_gettime_ns(time.CLOCK_MONOTONIC)  # before the imports below, which are timed

import gc  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from itertools import cycle  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from edgekit.runtime.decode import decoder  # noqa: E402
from edgekit.runtime.errors import EdgekitError  # noqa: E402
from edgekit.runtime.session import open_session  # noqa: E402
from edgekit.runtime.tokenise import load_tokeniser  # noqa: E402

__all__ = ["fixed_length", "main", "measure", "sample", "spread_order", "warm_up"]

AGREE = 0.10
WINDOW_RUNS, LEAST_RUNS, WINDOW_MS = 20, 5, 100.0
"""A warm-up window ends after 20 runs, or after 100 ms if it has 5."""
FIXED_SHARE = 0.4
"""Of the seconds and runs of the real lengths, what a fixed length gets: its runs differ by noise alone."""
MOST_SAMPLES = 20_000
MOST_ROWS = 2000
GOLDEN = (5**0.5 - 1) / 2
Once = Callable[[], float]


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Measure as `spec` says; times in milliseconds, memory in MB (10^6 bytes).

    Keys of `spec`: kind ("onnx", or "module:function", a loader (task, folder, threads) -> predict(ids)), folder, model, rows
    (JSON lines with a "text"), task, max_length, provider, threads, session_config, seconds, min_runs, max_warmup_seconds,
    seed, scenarios ("real" or a number of tokens), and traffic (see `_traffic`; may be absent).
    """
    spawned = int(os.environ.get("EDGEKIT_SPAWNED_NS", ENTERED_NS))
    folder = Path(spec["folder"])
    if spec["kind"] == "onnx":
        importlib.import_module("onnxruntime")
    memory = {"baseline_mb": _peak_mb()}
    importlib.import_module("tokenizers")
    phases = {"interpreter_ms": (ENTERED_NS - spawned) / 1e6, "import_ms": _since(ENTERED_NS)}
    started = _now()
    feed, run, providers = _opened(spec, folder)
    phases["session_ms"] = _since(started)
    memory["after_session_mb"] = _peak_mb()
    tokenise = load_tokeniser(folder / "tokenizer.json", spec["max_length"], 0)
    with Path(spec["rows"]).open(encoding="utf-8") as file:
        first = feed(tokenise([json.loads(next(file))["text"]]).ids)
        started = _now()
        output = run(first)
        phases["first_run_ms"] = _since(started)
        phases["first_answer_ms"] = _since(spawned)
        file.seek(0)
        texts = [json.loads(line)["text"] for line in file]
    memory["after_first_run_mb"] = _peak_mb()
    generator = np.random.default_rng(spec["seed"])
    chosen = [texts[index] for index in generator.permutation(len(texts))[:MOST_ROWS]]
    started = _now()
    ids = [tokenise([text]).ids for text in chosen]
    phases["tokenise_ms"] = _since(started) / len(ids)
    labels, decode = [str(number) for number in range(output.shape[-1])], decoder(spec["task"])
    started = _now()
    for _ in range(50):
        decode(output, labels)
    phases["postprocess_ms"] = _since(started) / 50
    real = [ids[index] for index in spread_order([row.shape[1] for row in ids], generator)]
    samples, cpu_ms = {}, {}
    for name in spec["scenarios"]:
        inputs = [feed(row) for row in (real if name == "real" else [fixed_length(real, int(name))])]
        cpu = time.process_time()
        share = 1.0 if name == "real" else FIXED_SHARE
        warm, samples[str(name)] = _timed(run, inputs, spec, share)
        cpu_ms[str(name)] = (time.process_time() - cpu) * 1000 / (warm + len(samples[str(name)]))
    turn = cycle([feed(row) for row in real])
    traffic = _traffic(spec["traffic"], lambda: run(next(turn)), spec["seed"]) if spec.get("traffic") else None
    memory["peak_mb"] = _peak_mb()
    return {
        "phases": phases,
        "memory": memory,
        "samples": samples,
        "cpu_ms": cpu_ms,
        "traffic": traffic,
        "providers": providers,
    }


def _opened(spec: dict[str, Any], folder: Path) -> tuple[Callable[[np.ndarray], Any], Callable[[Any], np.ndarray], list[str]]:
    """(ids int64 (1, n) -> what is fed, what is fed -> outputs (1, ...), providers in effect): only the second is timed."""
    if spec["kind"] != "onnx":
        module, _, name = spec["kind"].partition(":")
        predict = getattr(importlib.import_module(module), name)(spec["task"], folder, spec["threads"])
        return lambda ids: ids, predict, []
    path = folder / spec["model"]
    session = open_session(path, provider=spec["provider"], threads=spec["threads"], config=spec["session_config"])
    names = [item.name for item in session.get_inputs()]

    def feed(ids: np.ndarray) -> dict[str, np.ndarray]:
        known = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        return {name: known[name] for name in names}

    return feed, lambda inputs: session.run(None, inputs)[0], list(session.get_providers())


def _timed(run: Callable[[Any], Any], inputs: list[Any], spec: dict[str, Any], share: float) -> tuple[int, list[float]]:
    """(warm-up runs, milliseconds of each run after them), over `inputs` in turn, with the garbage collector off."""
    turn: Iterator[Any] = cycle(inputs)
    clock = time.perf_counter_ns

    def once() -> float:
        given = next(turn)
        started = clock()
        run(given)
        return (clock() - started) / 1e6

    gc.collect()
    gc.disable()
    try:
        warm = warm_up(once, spec["max_warmup_seconds"])
        return warm, sample(once, share * spec["seconds"], int(share * spec["min_runs"]))
    finally:
        gc.enable()


def warm_up(once: Once, most_seconds: float, clock: Callable[[], float] = time.perf_counter) -> int:
    """Run until the medians of the last three windows agree within 10%, or the time is up; returns how many runs that took.

    `once` runs once and returns its milliseconds.
    """
    until = clock() + most_seconds
    medians: list[float] = []
    runs = 0
    while clock() < until:
        window: list[float] = []
        while len(window) < WINDOW_RUNS and (len(window) < LEAST_RUNS or sum(window) < WINDOW_MS):
            window.append(once())
        runs += len(window)
        medians.append(float(np.median(window)))
        last = medians[-3:]
        if len(last) == 3 and max(last) - min(last) <= AGREE * min(last):
            break
    return runs


def sample(once: Once, seconds: float, min_runs: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Milliseconds of each run, to 4 digits after the point, for at least `seconds` and `min_runs`, and no more than 20,000."""
    times: list[float] = []
    until = clock() + seconds
    while (clock() < until or len(times) < min_runs) and len(times) < MOST_SAMPLES:
        times.append(round(once(), 4))
    return times


def spread_order(lengths: list[int], generator: np.random.Generator) -> list[int]:
    """An order of rows in which every stretch has nearly the lengths of the whole, from a random start.

    Steps of the golden ratio through the rows sorted by length (Kronecker sequence): a slow variant, which gets through
    fewer rows in its time, then meets the same lengths as a fast one.
    """
    rows = generator.permutation(len(lengths))
    rows = rows[np.argsort(np.asarray(lengths)[rows], kind="stable")]
    steps = (generator.random() + GOLDEN * np.arange(len(rows))) % 1.0
    ranks = np.argsort(np.argsort(steps))
    return [int(row) for row in rows[ranks]]


def fixed_length(real: list[np.ndarray], length: int) -> np.ndarray:
    """Real token ids, int64 (1, `length`): rows joined and cut, with a row's first and last token (CLS, SEP) at the ends."""
    inner = np.concatenate([row[0, 1:-1] for row in real[:200]])
    body = np.resize(inner, length - 2) if len(inner) else np.full(length - 2, real[0][0, 0])
    return np.concatenate([real[0][0, :1], body, real[0][0, -1:]])[None].astype(np.int64)


def _traffic(wanted: dict[str, Any], one: Callable[[], Any], seed: int) -> dict[str, Any]:
    """Requests that do not wait for one another: {"hertz": [...], "clients": [...], "load": share of capacity, "seconds"}."""
    from edgekit.runtime.traffic import closed_loop, open_loop, paced

    for _ in range(50):
        one()
    alone = closed_loop(one, 1, wanted["seconds"])
    clients = [alone, *(closed_loop(one, number, wanted["seconds"]) for number in wanted["clients"] if number > 1)]
    rate = min(wanted["load"] * alone["per_second"], 2000.0)
    return {
        "clients": clients,
        "poisson": open_loop(one, rate, wanted["seconds"], seed),
        "paced": [paced(one, hertz, max(wanted["seconds"], 3 / hertz)) for hertz in wanted["hertz"]],
    }


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def _since(moment_ns: int) -> float:
    return (_now() - moment_ns) / 1e6


def _peak_mb() -> float:
    """The most memory this process ever held (VmHWM), in MB of 10^6 bytes."""
    with Path("/proc/self/status").open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def main(arguments: list[str]) -> int:
    """Measure what the file named in `arguments` specifies; a fault of edgekit's own kind gives its text and exit code."""
    try:
        document = measure(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    except EdgekitError as fault:
        print(fault.text(), file=sys.stderr)
        return fault.exit_code
    print(json.dumps(document), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
