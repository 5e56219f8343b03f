"""What loading a bundle and answering cost, beside another commit of edgekit that lies in a folder: fresh processes, interleaved.

    git worktree add --detach /tmp/before 56edc77
    python -m benchmarks.load.measure BUNDLE /tmp/before BUNDLE_OF_BEFORE

The two bundles hold the same files, each with the manifest that its edgekit reads. Neither is a first load in a child: this user knows them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load.page import HERE, page
from edgekit.host import detect

ROUNDS = 15
TEXT = "could you tell me what my balance is"
WAYS = ("before", "now")


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write results.json and README.md of this folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.measure")
    for name in ("bundle", "before", "bundle_before"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args(arguments)
    here = HERE.parents[1]
    places = {"before": (asked.before.resolve(), asked.bundle_before), "now": (here, asked.bundle)}
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    load = [os.getloadavg()[0]]
    for way in WAYS:
        _once(*places[way])  # files are in the system's cache, and the bundle is known
    for turn in range(asked.rounds):
        for way in WAYS if turn % 2 else WAYS[::-1]:
            found[way].append(_once(*places[way]))
    load.append(os.getloadavg()[0])
    document = {
        "command": "python -m benchmarks.load.measure BUNDLE BEFORE BUNDLE_OF_BEFORE",
        "date": time.strftime("%Y-%m-%d"), "rounds": asked.rounds, "text": TEXT, "chip": detect().cpu, "cores": os.cpu_count(), "load": load,
        "commits": {way: _commit(place) for way, (place, _) in places.items()},
        "tools": {tool: metadata.version(tool) for tool in ("numpy", "onnxruntime", "tokenizers")},
        "bundle": json.loads((asked.bundle / "manifest.json").read_text(encoding="utf-8"))["name"],
        "processes": found, **compared(found),
    }  # fmt: skip
    (HERE / "results.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(page(document), encoding="utf-8")


def compared(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians of each way, and of what a round's second process took more than its first, with 95% intervals over rounds."""
    names = list(found["now"][0])
    chance = np.random.default_rng(0)
    differences = {}
    for name in names:
        more = np.array([now[name] - before[name] for before, now in zip(found["before"], found["now"], strict=True)])
        drawn = np.median(chance.choice(more, (2000, len(more))), axis=1)
        differences[name] = {
            "median": float(np.median(more)),
            "ci95": [float(edge) for edge in np.percentile(drawn, [2.5, 97.5])],
        }
    medians = {way: {name: float(np.median([one[name] for one in found[way]])) for name in names} for way in WAYS}
    return {"medians": medians, "more": differences}


def _once(place: Path, bundle: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, str(HERE / "worker.py"), str(bundle), TEXT], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(place)},
    )  # fmt: skip
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _commit(place: Path) -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=place, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
