"""Whether one loaded model gives each of many threads its own right answer: calls of every task, compared to the bit with those of one thread.

    python -m benchmarks.serve.threads build/*/bundle

Writes threads.json beside itself (`python -m benchmarks.serve.page` makes the page of it).
Threads take turns every 10 microseconds, so that what two calls share is found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import write_results
from edgekit.host import detect
from edgekit.runtime.errors import EdgekitError
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.model import Model, load

HERE = Path(__file__).resolve().parent
SWITCH = 1e-5
"""Seconds between two turns of Python's threads; 0.005 by default."""
LONG = 40
"""Times that a text is repeated, so that short texts and those that are cut come by turns."""
NEW_TOKENS = 8


def main() -> None:
    """Hammer each bundle; exit 1 where any answer differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--calls", type=int, default=20_000, help="of each bundle")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--out", type=Path, default=HERE / "threads.json")
    asked = parser.parse_args()
    sys.setswitchinterval(SWITCH)
    cells = [hammered(path, asked.threads, asked.calls) for path in asked.bundles]
    document = {
        "command": f"python -m benchmarks.serve.threads BUNDLES --calls {asked.calls} --threads {asked.threads}",
        "machine": {"chip": detect().cpu, "cores": os.cpu_count()},
        "threads": asked.threads,
        "switch_interval_s": SWITCH,
        "calls": sum(cell["calls"] for cell in cells),
        "differences": sum(cell["differences"] for cell in cells),
        "tasks": sorted({cell["task"] for cell in cells}),
        "cells": cells,
    }
    write_results(asked.out, document)
    sys.exit(1 if document["differences"] else 0)


def hammered(path: Path, threads: int, calls: int) -> dict[str, Any]:
    """`calls` of one bundle by `threads`, each in an order of its own."""
    model = load(path)
    inputs = items(model)
    wanted = [asked(model, item) for item in inputs]
    began = time.perf_counter()

    def work(number: int) -> int:
        order = np.random.default_rng(number).integers(len(inputs), size=-(-calls // threads))
        return sum(asked(model, inputs[index]) != wanted[index] for index in order)

    with ThreadPoolExecutor(threads) as pool:
        differences = sum(pool.map(work, range(threads)))
    cell = {
        "bundle": model.bundle.manifest.name, "task": model.bundle.manifest.task, "inputs": len(inputs),
        "refused": sum(isinstance(one, str) for one in wanted), "calls": -(-calls // threads) * threads, "differences": differences,
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip
    print(cell, file=sys.stderr, flush=True)
    return cell


def items(model: Model) -> list[Any]:
    """The bundle's golden inputs, and each of them made long."""
    golden = json.loads((model.bundle.folder / model.bundle.manifest.golden.file).read_text(encoding="utf-8"))
    found = [row["input"] for row in golden["rows"]]
    return [*found, *(longer(item) for item in found)]


def longer(item: Any) -> Any:
    """`item` with each of its texts repeated."""
    if isinstance(item, str):
        return " ".join([item] * LONG)
    if isinstance(item, dict):
        return {name: longer(part) for name, part in item.items()}
    return item


def asked(model: Model, item: Any) -> Any:
    """The answer, or what a refusal says: a false one is a difference too."""
    try:
        if model.language is not None:
            return model.language.answer(item, Sampling(max_new_tokens=NEW_TOKENS)).document()
        return model([item])[0]
    except EdgekitError as fault:
        return fault.text()


if __name__ == "__main__":
    main()
