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
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from edgekit.runtime.decode import decoder  # noqa: E402
from edgekit.runtime.session import open_session  # noqa: E402
from edgekit.runtime.tokenise import load_tokeniser  # noqa: E402

__all__ = ["main", "measure"]

WINDOW = 20
AGREE = 0.10
MOST_SAMPLES = 20_000
Run = Callable[[np.ndarray], np.ndarray]


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Measure as `spec` says; times in milliseconds, memory in MB (10^6 bytes)."""
    spawned = int(os.environ.get("EDGEKIT_SPAWNED_NS", ENTERED_NS))
    started = time.perf_counter()
    import onnxruntime  # noqa: F401 - imported here so that its own cost is seen

    imported_ms = (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - ENTERED_NS) / 1e6
    baseline = _peak_mb()
    folder = Path(spec["folder"])
    started = time.perf_counter()
    run = _opened(spec, folder)
    session_ms = _since(started)
    after_session = _peak_mb()
    texts = [json.loads(line)["text"] for line in Path(spec["rows"]).read_text(encoding="utf-8").splitlines()]
    order = np.random.default_rng(spec["seed"]).permutation(len(texts))[: spec.get("max_rows", 2000)]
    tokenise = load_tokeniser(folder / "tokenizer.json", spec["max_length"], 0)
    started = time.perf_counter()
    real = [tokenise([texts[index]]).ids for index in order]
    tokenise_ms = _since(started) / len(real)
    started = time.perf_counter()
    output = run(real[0])
    first_run_ms = _since(started)
    first_answer_ms = (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - spawned) / 1e6 - tokenise_ms * (len(real) - 1)
    labels = [str(number) for number in range(output.shape[-1])]
    decode = decoder(spec["task"])
    started = time.perf_counter()
    for _ in range(50):
        decode(output, labels)
    postprocess_ms = _since(started) / 50
    samples = {str(name): _scenario(run, real, name, spec) for name in spec["scenarios"]}
    return {
        "phases": {
            "interpreter_ms": (ENTERED_NS - spawned) / 1e6, "import_ms": imported_ms, "session_ms": session_ms,
            "first_run_ms": first_run_ms, "tokenise_ms": tokenise_ms, "postprocess_ms": postprocess_ms,
            "first_answer_ms": first_answer_ms,
        },
        "memory": {"baseline_mb": baseline, "after_session_mb": after_session, "peak_mb": _peak_mb()},
        "samples": samples,
    }  # fmt: skip


def _opened(spec: dict[str, Any], folder: Path) -> Run:
    """ids int64 (1, n) -> outputs, by ONNX Runtime or by a loader that the specification names (PyTorch eager)."""
    if spec["kind"] != "onnx":
        module, _, name = spec["kind"].partition(":")
        loaded: Run = getattr(importlib.import_module(module), name)(spec["task"], folder, spec["threads"])
        return loaded
    session = open_session(folder / spec["model"], provider=spec["provider"], threads=spec["threads"], config=spec["session_config"])
    return lambda ids: np.asarray(session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0])


def _scenario(run: Run, real: list[np.ndarray], name: str | int, spec: dict[str, Any]) -> list[float]:
    """Warm run times in milliseconds: real rows in turn, or one row of real ids repeated to a fixed length."""
    inputs = real if name == "real" else [_of_length(real, int(name))]
    count = 0

    def once() -> float:
        nonlocal count
        ids = inputs[count % len(inputs)]
        count += 1
        started = time.perf_counter()
        run(ids)
        return (time.perf_counter() - started) * 1000

    gc.collect()
    gc.disable()
    try:
        _warm_up(once, spec["max_warmup_seconds"])
        samples: list[float] = []
        until = time.perf_counter() + spec["seconds"]
        while (time.perf_counter() < until or len(samples) < spec["min_runs"]) and len(samples) < MOST_SAMPLES:
            samples.append(round(once(), 5))
    finally:
        gc.enable()
    return samples


def _warm_up(once: Callable[[], float], most_seconds: float) -> None:
    """Run until the medians of the last three windows agree within 10%, or the time is up."""
    until = time.perf_counter() + most_seconds
    medians: list[float] = []
    while time.perf_counter() < until:
        medians.append(float(np.median([once() for _ in range(WINDOW)])))
        last = medians[-3:]
        if len(last) == 3 and max(last) - min(last) <= AGREE * min(last):
            return


def _of_length(real: list[np.ndarray], length: int) -> np.ndarray:
    """Real token ids repeated to `length`, with the first row's first and last token at the ends."""
    inner = np.concatenate([row[0, 1:-1] for row in real[:200]])
    body = np.resize(inner, max(0, length - 2))
    return np.concatenate([real[0][0, :1], body, real[0][0, -1:]])[None].astype(np.int64)


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _peak_mb() -> float:
    """Largest resident memory of this process so far (VmHWM)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def main() -> None:
    """Read the specification named on the command line and print the document as the last line."""
    document = measure(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    main()
