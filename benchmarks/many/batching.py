"""Whether texts of one length that are run together are answered sooner than one by one, by bundles whose answers do not depend on neighbours.

    python -m benchmarks.many.batching build/static-x86-vnni ...

Bundles with static ranges (`[quantize] mode = "static"`) of any task that reads one window a text. From text to answer, one thread: every text
tokenised, run and read alone, or tokenised alone and run with others of its length. Nothing is padded. Also whether every answer of a batch is
the one that its text has alone. Writes batching.json beside itself (`python -m benchmarks.many.page` makes the page of it).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from operator import eq
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.many.page import HERE, write_page
from benchmarks.pages import write_results
from edgekit.host import detect
from edgekit.runtime.bench.statistics import ratio_interval
from edgekit.runtime.model import Model, load
from edgekit.runtime.processors import processor
from edgekit.tasks import encoder_task

ROWS, ROW_ROUNDS = 2000, 7
"""Rows of the bundle's own test split, in each round; CPU time of the thread."""
LENGTHS, BATCHES, ROUNDS, TEXTS = (12, 32, 64, 128), (8, 32), 15, 64
"""Tokens; texts a run; interleaved rounds; texts a round."""
WORDS = [
    "the",
    "red",
    "light",
    "in",
    "hall",
    "and",
    "blue",
    "door",
    "of",
    "a",
    "house",
    "on",
    "water",
    "is",
    "not",
    "good",
    "for",
    "time",
    "or",
    "place",
    "with",
    "work",
    "day",
    "year",
    "man",
]
"""Words that are a token each to every BERT."""


def main() -> None:
    """Measure every bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    asked = parser.parse_args()
    cells = [cell for path in asked.results for cell in measured(path)]
    rows = [of_rows(path) for path in asked.results]
    document = {
        "command": f"python -m benchmarks.many.batching {' '.join(f'build/{path.name}' for path in asked.results)}",
        "machine": {"chip": detect().cpu, "priority": os.sched_getscheduler(0) != os.SCHED_OTHER}, "rounds": ROUNDS, "cells": cells, "rows": rows,
    }  # fmt: skip
    write_results(HERE / "batching.json", document)
    write_page()


def measured(path: Path) -> list[dict[str, Any]]:
    """One bundle at every length."""
    model, recipe = load(path, threads=1), json.loads((path / "lineage.json").read_text(encoding="utf-8"))["recipe"]
    assert recipe["quantize"]["mode"] == "static", f"{path}: ranges that are found in every run depend on all of it"
    cells = []
    for length in LENGTHS:
        draw = random.Random(length)
        given = [" ".join(draw.choices(WORDS, k=length - 2)) for _ in range(TEXTS)]
        assert all(
            len(window.ids) == length
            for text in given
            for window in processor(model.bundle.manifest.task).prepare(model.reader, text)
        )
        alone = [model(text) for text in given]
        seconds: dict[int, list[list[float]]] = {size: [] for size in (1, *BATCHES)}
        for number in range(ROUNDS + 1):
            for size in draw.sample(sorted(seconds), len(seconds)):
                begun = time.perf_counter()
                found = [model(text) for text in given] if size == 1 else together(model, given, size)
                taken = time.perf_counter() - begun
                assert size > 1 or found == alone
                if number:  # one to warm up
                    seconds[size].append([taken / TEXTS])
        for size in BATCHES:
            same = sum(one == other for one, other in zip(together(model, given, size), alone, strict=True))
            cells.append({
                "bundle": model.bundle.manifest.name, "task": model.bundle.manifest.task, "tokens": length, "batch": size,
                "alone_ms": 1e3 * float(np.median(seconds[1])), "batch_ms": 1e3 * float(np.median(seconds[size])),
                "faster": ratio_interval(seconds[1], seconds[size], 7), "texts": TEXTS, "as_alone": same,
            })  # fmt: skip
            print(cells[-1], file=sys.stderr, flush=True)
    return cells


def of_rows(path: Path) -> dict[str, Any]:
    """A bundle on its own test rows, as they come: `model(texts)` against `model(text)`."""
    model, lineage = load(path, threads=1), json.loads((path / "lineage.json").read_text(encoding="utf-8"))
    task = encoder_task(lineage["recipe"]["task"])
    lines = (path / lineage["rows"]).read_text(encoding="utf-8").splitlines()
    items: list[Any] = [item for line in lines for item in task.items(json.loads(line))]
    items = [{"words": item} if isinstance(item, list) else item for item in items]  # a tagger's
    given: list[Any] = [items[place % len(items)] for place in range(ROWS)]
    seconds: dict[str, list[list[float]]] = {"alone": [], "joined": []}
    for number in range(ROW_ROUNDS + 1):
        begun = time.thread_time()
        alone = [model(item) for item in given]
        middle = time.thread_time()
        joined = model(given)
        end = time.thread_time()
        if number:
            seconds["alone"].append([(middle - begun) / ROWS])
            seconds["joined"].append([(end - middle) / ROWS])
    return {
        "bundle": model.bundle.manifest.name, "rows": ROWS, "rounds": ROW_ROUNDS,
        "alone_ms": 1e3 * float(np.median(seconds["alone"])), "joined_ms": 1e3 * float(np.median(seconds["joined"])),
        "faster": ratio_interval(seconds["alone"], seconds["joined"], 7), "as_alone": sum(map(eq, alone, joined)),
    }  # fmt: skip


def together(model: Model, texts: list[str], size: int) -> list[Any]:
    """The answers to texts of one length, so many a run."""
    task = processor(model.bundle.manifest.task)
    answers = []
    for begin in range(0, len(texts), size):
        part = texts[begin : begin + size]
        windows = [task.prepare(model.reader, text) for text in part]
        feeds = [window.feed() for (window,) in windows]
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        rows = model.session.run(model.output_names, joined)[0]
        answers += [
            task.answer([rows[place : place + 1]], windows[place], model.asked(text)) for place, text in enumerate(part)
        ]
    return answers


if __name__ == "__main__":
    main()
