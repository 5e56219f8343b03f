"""How often requests that wait at a server could share a run of an encoder that allows it: runs hold texts of one length (`runtime/joined.py`).

    python -m benchmarks.serve.waiting build/clinc150-x86-vnni build/stsb-x86-vnni

Of each result: its test rows, drawn so many at a time as if they waited together. Writes waiting.json beside itself (`python -m
benchmarks.serve.page` makes the page of it).
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.pages import write_results
from edgekit.runtime.joined import SIZE
from edgekit.runtime.model import load
from edgekit.runtime.processors import processor
from edgekit.tasks import encoder_task

HERE = Path(__file__).resolve().parent
WAITING = (8, 16, 32, 64, 96)
DRAWS = 2000


def main() -> None:
    """Draw from each result's rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="result folders")
    asked = parser.parse_args()
    document = {
        "command": f"python -m benchmarks.serve.waiting {' '.join(map(str, asked.results))}",
        "size": SIZE, "draws": DRAWS, "cells": [drawn(path) for path in asked.results],
    }  # fmt: skip
    write_results(HERE / "waiting.json", document)


def drawn(path: Path) -> dict[str, Any]:
    """Shares of requests that find as many of their length as a run holds."""
    model = load(path)
    task = encoder_task(model.bundle.manifest.task)
    lines = (
        (path / json.loads((path / "lineage.json").read_text(encoding="utf-8"))["rows"])
        .read_text(encoding="utf-8")
        .splitlines()
    )
    lengths = [
        len(window.ids)
        for line in lines
        for item in task.items(json.loads(line))
        for window in processor(task.name).prepare(model.reader, {"words": item} if isinstance(item, list) else item)
    ]
    draw = random.Random(7)
    shares = []
    for waiting in WAITING:
        joined = sum(count // SIZE * SIZE for _ in range(DRAWS) for count in Counter(draw.sample(lengths, waiting)).values())
        shares.append({"waiting": waiting, "share": joined / DRAWS / waiting})
    return {"bundle": model.bundle.manifest.name, "texts": len(lengths), "shares": shares}


if __name__ == "__main__":
    main()
