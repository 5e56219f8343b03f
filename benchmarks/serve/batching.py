"""Whether texts that are run together get the answers that they get alone, which decides whether a server may join requests of several clients.

    python -m benchmarks.serve.batching build/clinc150-x86-vnni build/stsb-x86-vnni build/static-x86-avx2

Of each result: the bundle's graph, and the same model in fp32 by ONNX Runtime, where it is there. Batches hold token ids of one length, so that
nothing is padded. Writes batching.json beside itself (`python -m benchmarks.serve.page` makes the page of it).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import write_results
from edgekit.host import detect
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.providers.session import Session, open_session

HERE = Path(__file__).resolve().parent
LENGTHS = range(4, 41, 9)
BATCHES = (2, 3, 4, 8, 16)


def main() -> None:
    """Compare each graph's batches with its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="result folders, or bundles")
    parser.add_argument("--out", type=Path, default=HERE / "batching.json")
    asked = parser.parse_args()
    cells = []
    for path in asked.results:
        bundle = open_bundle(path)
        manifest = bundle.manifest
        graphs = {
            manifest.variant.file: bundle.folder / manifest.variant.file,
            "ort-fp32": path / "variants" / "ort-fp32" / "model.onnx",
        }
        for name, graph in graphs.items():
            if graph.exists():
                config = manifest.variant.config if name != "ort-fp32" else {}
                session = open_session(graph, threads=1, config=config)
                found = compared(session, manifest.vocabulary, manifest.text.max_length)  # the original has no fewer token ids
                cells.append({"result": manifest.name, "graph": name, **found})
                print(cells[-1], file=sys.stderr, flush=True)
    document = {
        "command": f"python -m benchmarks.serve.batching {' '.join(map(str, asked.results))}",
        "machine": {"chip": detect().cpu, "cores": os.cpu_count()},
        "cells": cells,
    }
    write_results(asked.out, document)


def compared(session: Session, vocabulary: int, longest: int) -> dict[str, Any]:
    """How many rows have another output in a batch than alone, by how much at most, and what a row takes in either."""
    draw = np.random.default_rng(0)
    rows = differ = 0
    worst = largest = alone_seconds = batch_seconds = 0.0
    for length in (length for length in LENGTHS if length <= longest):
        for size in BATCHES:
            ids = draw.integers(0, vocabulary, (size, length))
            began = time.perf_counter()
            alone = np.concatenate([session.run(None, feed(session, ids[row : row + 1]))[0] for row in range(size)])
            middle = time.perf_counter()
            batch = session.run(None, feed(session, ids))[0]
            alone_seconds, batch_seconds = alone_seconds + middle - began, batch_seconds + time.perf_counter() - middle
            gap = np.abs(alone - batch).reshape(size, -1).max(axis=1)
            rows, differ = rows + size, differ + int((gap > 0).sum())
            worst, largest = max(worst, float(gap.max())), max(largest, float(np.abs(alone).max()))
    return {
        "rows": rows, "rows_that_differ": differ, "largest_difference": worst, "largest_output": round(largest, 3),
        "alone_ms": round(alone_seconds / rows * 1000, 3), "in_a_batch_ms": round(batch_seconds / rows * 1000, 3),
    }  # fmt: skip


def feed(session: Session, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs of one text, or of one batch."""
    values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return {item.name: values[item.name] for item in session.get_inputs()}


if __name__ == "__main__":
    main()
