"""One fresh process of a benchmark: it times its own start, load, first run and warm runs, and prints one JSON line.

`python -m edgekit.runtime.bench.measure SPEC.json`; the supervisor passes the moment it started the process in EDGEKIT_SPAWNED_NS
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
from dataclasses import dataclass, replace  # noqa: E402
from itertools import cycle  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from edgekit.runtime.bench.words import GRAPH, TEXT  # noqa: E402
from edgekit.runtime.errors import BadInput, EdgekitError  # noqa: E402
from edgekit.runtime.processors import Asked, processor  # noqa: E402
from edgekit.runtime.prompts import Prompts  # noqa: E402
from edgekit.runtime.providers.session import open_session  # noqa: E402
from edgekit.runtime.reader import reader_in  # noqa: E402
from edgekit.runtime.tokenise import Window  # noqa: E402

__all__ = ["Eager", "fixed_length", "main", "measure", "sample", "spread_order", "warm_up"]

AGREE = 0.10
WINDOW_RUNS, LEAST_RUNS, WINDOW_MS = 20, 5, 100.0
"""A warm-up window ends after 20 runs, or after 100 ms if it has 5."""
FIXED_SHARE = 0.4
"""Of the seconds and runs of the real lengths, what a fixed length gets: its runs differ by noise alone."""
MOST_SAMPLES = 20_000
MOST_ROWS = 2000
GOLDEN = (5**0.5 - 1) / 2
Once = Callable[[], float]
Feed = dict[str, np.ndarray]


@dataclass(frozen=True)
class Eager:
    """How checkpoints are run without ONNX Runtime: handed in by a program that can (`edgekit.bench.eager`)."""

    predictor: Callable[[str, Path, int], tuple[list[str], Callable[[Feed], np.ndarray]]]
    """(task, folder, threads) -> (names of inputs, one feed -> output (1, ...))."""
    reader: Callable[[Path, int], Callable[[np.ndarray, int], int]]
    """(folder, threads) -> a `Step` of `measure_language`."""


def measure(spec: dict[str, Any], eager: Eager | None = None) -> dict[str, Any]:
    """Measure as `spec` says; times in milliseconds, memory in MB (10^6 bytes).

    Keys of `spec`: kind ("onnx", or "eager", which needs `eager`), folder, model, items (JSON lines, one input of the task each), task,
    max_length, provider, threads, session_config, seconds, min_runs, max_warmup_seconds, seed, scenarios ("text": from an item
    to its answer, "real": the graph alone on those items, or a number of tokens), prompt (what stands before every text of an embedding; may be
    absent), and traffic (see `_traffic`; may be absent).
    Of a language model, which has `generation`, see `measure_language`; kind "memory" reads memory and nothing else, kind "guesses" is
    `measure_guesses`.
    """
    if spec["kind"] == "memory":
        from edgekit.runtime.bench.measure_language import reading

        return {"gb_per_second": reading(threads=spec["threads"])}
    if spec["kind"] == "guesses":
        from edgekit.runtime.bench.measure_guesses import measure_guesses

        return measure_guesses(spec)
    spawned = int(os.environ.get("EDGEKIT_SPAWNED_NS", ENTERED_NS))
    folder = Path(spec["folder"])
    if spec["kind"] == "onnx":
        importlib.import_module("edgekit.runtime.providers.ort")
    memory = {"baseline_mb": _peak_mb()}
    if processor(spec["task"]).reads == "text":
        importlib.import_module("tokenizers")
    phases = {"interpreter_ms": (ENTERED_NS - spawned) / 1e6, "import_ms": _since(ENTERED_NS)}
    if spec.get("generation"):
        from edgekit.runtime.bench.measure_language import measure_language

        found = measure_language({**spec, "spawned": spawned}, _since, _now, None if eager is None else eager.reader)
        return {**found, "phases": phases | found["phases"], "memory": memory | {"peak_mb": _peak_mb()}}
    started = _now()
    names, run, providers = _opened(spec, folder, eager)
    phases["session_ms"] = _since(started)
    memory["after_session_mb"] = _peak_mb()
    task = processor(spec["task"])
    reader = reader_in(
        folder,
        task.reads,
        spec["max_length"],
        segments="token_type_ids" in names,
        prompts=Prompts({"": spec.get("prompt", "")}, ""),
    )
    with Path(spec["items"]).open(encoding="utf-8") as file:
        first = json.loads(next(file))
        windows = task.prepare(reader, first)
        given = feeds(windows, names)
        started = _now()
        outputs = run(given)
        phases["first_run_ms"] = _since(started)
        phases["first_answer_ms"] = _since(spawned)
        file.seek(0)
        items = [json.loads(line) for line in file]
    memory["after_first_run_mb"] = _peak_mb()
    generator = np.random.default_rng(spec["seed"])
    chosen = [items[index] for index in generator.permutation(len(items))[:MOST_ROWS]]
    started = _now()
    prepared = [task.prepare(reader, item) for item in chosen]
    phases["tokenise_ms"] = _since(started) / len(prepared)
    count = outputs[0].shape[
        -1
    ]  # names are made up: how long an answer takes does not depend on them, but zero-shot looks for this one
    asked = Asked(["entailment", *map(str, range(1, count))], item=first)
    started = _now()
    for _ in range(50):
        task.answer(outputs, windows, asked)
    phases["postprocess_ms"] = _since(started) / 50
    order = spread_order([sum(one.size for one in item) for item in prepared], generator)
    real = [prepared[index] for index in order]
    samples, cpu_ms = {}, {}
    spans: dict[str, tuple[int, int, int]] = {}

    def answer(item: Any) -> Any:
        windows = task.prepare(reader, item)
        return task.answer(run(feeds(windows, names)), windows, replace(asked, item=item))

    for name in spec["scenarios"]:
        on_rows = name in (TEXT, GRAPH)
        inputs = [feeds(item, names) for item in (real if on_rows else [[fixed_length(real, int(name))]])]
        cpu, started = time.process_time(), _now()
        share = 1.0 if on_rows else FIXED_SHARE
        if name == TEXT:
            warm, samples[TEXT] = _timed(answer, [chosen[index] for index in order], spec, share)
        else:
            warm, samples[str(name)] = _timed(run, inputs, spec, share)
        cpu_ms[str(name)] = (time.process_time() - cpu) * 1000 / (warm + len(samples[str(name)]))
        spans[str(name)] = (started, _now(), warm + len(samples[str(name)]))  # for the supervisor, which reads energy
    turn = cycle([feeds(item, names) for item in real])
    traffic = _traffic(spec["traffic"], lambda: run(next(turn)), spec["seed"]) if spec.get("traffic") else None
    memory["peak_mb"] = _peak_mb()
    return {
        "phases": phases,
        "memory": memory,
        "samples": samples,
        "cpu_ms": cpu_ms,
        "windows": spans,
        "traffic": traffic,
        "providers": providers,
    }


def _opened(
    spec: dict[str, Any], folder: Path, eager: Eager | None
) -> tuple[list[str], Callable[[list[Feed]], list[np.ndarray]], list[str]]:
    """(names of the inputs, the feeds of one answer -> an output (1, ...) for each, providers in effect)."""
    if spec["kind"] != "onnx":
        names, predict = _needed(eager).predictor(spec["task"], folder, spec["threads"])
        return names, lambda given: [predict(feed) for feed in given], []
    path = folder / spec["model"]
    session = open_session(path, provider=spec["provider"], threads=spec["threads"], config=spec["session_config"])
    names = [item.name for item in session.get_inputs()]
    return names, lambda given: [session.run(None, feed)[0] for feed in given], list(session.get_providers())


def _needed(eager: Eager | None) -> Eager:
    if eager is None:
        raise BadInput("this program runs ONNX models alone", where="bench")
    return eager


def feeds(windows: list[Window], names: list[str]) -> list[Feed]:
    """What is fed for one answer: each window's inputs that the model takes."""
    return [{name: array for name, array in one.feed().items() if name in names} for one in windows]


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


def fixed_length(real: list[list[Window]], length: int) -> Window:
    """Real tokens in one window of `length`: windows joined and cut, with a window's first and last token (CLS, SEP) at the ends."""
    first = real[0][0]
    inner = np.concatenate([one.ids[1:-1] for item in real[:200] for one in item])
    body = np.resize(inner, length - 2) if len(inner) else np.full(length - 2, first.ids[0])
    ids = np.concatenate([first.ids[:1], body, first.ids[-1:]]).astype(np.int64)
    types = None if first.types is None else np.zeros_like(ids)
    return Window(ids, types, np.zeros((length, 2), dtype=np.int64), np.full(length, -1, dtype=np.int64), "")


def _traffic(wanted: dict[str, Any], one: Callable[[], Any], seed: int) -> dict[str, Any]:
    """Requests that do not wait for one another: {"hertz": [...], "clients": [...], "load": share of capacity, "seconds"}."""
    from edgekit.runtime.bench.traffic import closed_loop, open_loop, paced

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


def main(arguments: list[str], eager: Eager | None = None) -> int:
    """Measure what the file named in `arguments` specifies; a fault of edgekit's own kind gives its text and exit code."""
    try:
        document = measure(json.loads(Path(arguments[0]).read_text(encoding="utf-8")), eager)
    except EdgekitError as fault:
        print(fault.text(), file=sys.stderr)
        return fault.exit_code
    print(json.dumps(document), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
