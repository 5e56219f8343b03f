"""Text in, answer out, of bundles and of the libraries that people use, on the same texts, and 10,000 texts on one core and on all.

    python -m benchmarks.text_to_answer.compare build/clinc150-x86-vnni build/stsb-x86-vnni --peers PEERS

PEERS: a folder made by `pip install --target PEERS --no-deps -r benchmarks/text_to_answer/peers.txt`, as optimum's ONNX Runtime half needs another
transformers than this project. Every contender is a process; in each round each answers a few texts, in a random order. One thread each and pinned
to the last core for single texts; all cores for many. Writes results.json and README.md beside itself; two bundles take some four minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import epochs_of, write_results
from benchmarks.text_to_answer.page import HERE, write_page
from edgekit.host import detect
from edgekit.runtime.bench.statistics import ratio_interval
from edgekit.runtime.bundle.open import open_bundle
from edgekit.tasks import encoder_task

ROUNDS, MANY_ROUNDS = 30, 5
TEXTS = {"edgekit": 40, "graph": 40, "pipeline": 10, "int8": 20}
"""Texts a round."""
MANY = 10_000
WORDS = range(9, 12)
"""Words of the texts that the time beside the graph is told of."""


class Contender:
    """A process that answers."""

    def __init__(self, spec: dict[str, Any], cores: set[int], peers: Path | None) -> None:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([*([str(peers)] if peers else []), root])
        numbers = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(spec["threads"]))
        environment = {**os.environ, **numbers, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.text_to_answer.contender", json.dumps(spec)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=None if os.environ.get("SHOW") else subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        os.sched_setaffinity(self.process.pid, cores)
        self.answer()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, told: dict[str, Any]) -> Any:
        """What it says to `told`."""
        assert self.process.stdin is not None
        print(json.dumps(told), file=self.process.stdin, flush=True)
        return self.answer()

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def main() -> None:
    """Compare on every result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--kept", type=Path, help="where the libraries' INT8 models are kept for the next run")
    parser.add_argument("--note", default="", help="what else is to be known of the bundles, for the page")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        cells = [compared(path, asked.peers, asked.kept or Path(aside), Path(aside)) for path in asked.results]
    document = {
        "command": f"python -m benchmarks.text_to_answer.compare {' '.join(f'build/{path.name}' for path in asked.results)} --peers PEERS",
        "machine": {"chip": detect().cpu, "cores": len(os.sched_getaffinity(0)), "priority": os.sched_getscheduler(0) != os.SCHED_OTHER},
        "peers": (HERE / "peers.txt").read_text(encoding="utf-8").split(),
        "note": asked.note,
        "cells": cells,
    }  # fmt: skip
    write_results(HERE / "results.json", document)
    write_page()


def compared(path: Path, peers: Path, kept: Path, aside: Path) -> dict[str, Any]:
    """One result."""
    lineage = json.loads((path / "lineage.json").read_text(encoding="utf-8"))
    manifest, task = open_bundle(path).manifest, encoder_task(lineage["recipe"]["task"])
    rows = [json.loads(line) for line in (path / lineage["rows"]).read_text(encoding="utf-8").splitlines()]
    items = [item for row in rows for item in task.items(row)]
    texts = [
        item if isinstance(item, str) else " ".join(map(str, item)) for item in items if isinstance(item, (str, list))
    ]  # a tagger's words
    (aside / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    original = str((path / lineage["variants"]["eager-fp32"]["folder"]).resolve())
    common = {"task": task.name, "texts": str(aside / "texts.json"), "kept": str(kept / manifest.name)}
    specs = {
        "edgekit": {**common, "kind": "edgekit", "folder": str(path)},
        "pipeline": {**common, "kind": "pipeline", "folder": original},
        "int8": {**common, "kind": "int8", "folder": original},
    }
    load_before = os.getloadavg()[0]
    cores = os.sched_getaffinity(0)
    with ExitStack() as stack:
        single = {
            name: stack.enter_context(Contender({**spec, "threads": 1}, {max(cores)}, peers if name == "int8" else None))
            for name, spec in specs.items()
        }
        samples, beside = rounds(single, texts)
        say(f"{manifest.name}: single texts done")
    with ExitStack() as stack:
        several = {
            name: stack.enter_context(
                Contender({**specs[name], "threads": len(cores)}, cores, peers if name == "int8" else None)
            )
            for name in ("edgekit", "int8")
        }
        seconds, shares = many(several, len(cores))
    quality = lineage["variants"]["bundle"]["quality"]
    medians = {name: 1e-6 * float(np.median([np.median(times) for times in found])) for name, found in samples.items()}
    differences = np.array([np.median(one) - np.median(two) for one, two in beside]) / 1e3
    return {
        "bundle": manifest.name, "of": {
            "sha256": manifest.assets[manifest.variant.file].sha256, "seed": lineage["recipe"]["seed"], "quality": quality["value"],
            "metric": quality["metric"], "recipe": path.name.removesuffix(f"-{lineage['target']['name']}"), "epochs": epochs_of(lineage["recipe"]),
        },
        "task": task.name, "load": [load_before, os.getloadavg()[0]], "rounds": ROUNDS, "texts": len(texts),
        "words": float(np.median([len(text.split()) for text in texts])), "median_ms": medians,
        "faster_than": {name: ratio_interval(samples[name], samples["edgekit"], 7) for name in ("pipeline", "int8")},
        "beside_graph_us": {"median": float(np.median(differences)), "quartiles": [float(one) for one in np.quantile(differences, (0.25, 0.75))]},
        "many": {
            "texts": MANY, "rounds": MANY_ROUNDS, "parent_share": float(np.median(shares)),
            "seconds": {name: float(np.median(found)) for name, found in seconds.items()},
            "all_cores": ratio_interval([[one] for one in seconds["one"]], [[one] for one in seconds["all"]], 7),
            "faster_than_int8": ratio_interval([[one] for one in seconds["int8"]], [[one] for one in seconds["all"]], 7),
        },
    }  # fmt: skip


def rounds(
    single: dict[str, Contender], texts: list[str]
) -> tuple[dict[str, list[list[float]]], list[tuple[list[float], list[float]]]]:
    """(nanoseconds of each text in each round, of each contender and of the bundle's graph; those of texts of ten words and of their graph)."""
    draw = random.Random(7)
    short = [text for text in texts if len(text.split()) in WORDS]
    samples: dict[str, list[list[float]]] = {name: [] for name in [*single, "graph"]}
    beside = []
    for number in range(ROUNDS + 2):
        for name in draw.sample(sorted(samples), len(samples)):
            told = {"graph" if name == "graph" else "one": draw.choices(texts, k=TEXTS[name])}
            samples[name].append(single["edgekit" if name == "graph" else name].ask(told))
        chosen = draw.choices(short, k=TEXTS["graph"])
        graph = single["edgekit"].ask({"graph": chosen})
        beside.append((single["edgekit"].ask({"one": chosen}), graph))
        if number == 1:  # two rounds to warm up
            samples, beside = {name: [] for name in samples}, []
    return samples, beside


def many(several: dict[str, Contender], cores: int) -> tuple[dict[str, list[float]], list[float]]:
    """(seconds for MANY texts, in each round; of those on all cores the share of CPU time that the thread takes which shares texts out)."""
    seconds: dict[str, list[float]] = {"one": [], "all": [], "int8": []}
    shares = []
    for contender in several.values():
        contender.ask({"all": 500, "workers": cores})
    for number in range(MANY_ROUNDS):
        for name in random.Random(number).sample(sorted(seconds), len(seconds)):
            told = {"all": MANY, "workers": 1 if name == "one" else cores}
            found = several["int8" if name == "int8" else "edgekit"].ask(told)
            seconds[name].append(found["seconds"])
            if name == "all":
                shares.append(found["own"] / found["cpu"])
            say(f"  {name}: {seconds[name][-1]:.2f} s")
    return seconds, shares


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
