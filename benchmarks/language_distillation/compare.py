"""Make and score every arm: `python -m benchmarks.language_distillation.compare` writes results.json and README.md beside this file.

Every arm goes through the store of `--build`, so a second run makes only what is new. With `--minutes N` no arm is begun after so long.
Nothing is timed: the page is about quality for steps of training. Seconds are kept in the JSON as an order of magnitude.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.language_distillation.arms import ARMS, EPOCHS, Arm
from benchmarks.language_distillation.page import write_page
from edgekit.config.target import best_target
from edgekit.errors import EdgekitError
from edgekit.host import detect
from edgekit.pipeline.run import run_recipe
from edgekit.progress import Show
from edgekit.runtime.bench.environment import snapshot
from edgekit.runtime.outputs import write_atomically
from edgekit.tasks import find_task

HERE = Path(__file__).resolve().parent
TASK = find_task("text-generation")
BASE = HERE.parents[1] / "recipes" / "reference-lm.toml"


def recipe_text(arm: Arm) -> str:
    """The arm's recipe: the base with numbers of [model.new] exchanged, no budget, and the arm's steps at the end."""
    text = re.sub(r"(?ms)^\[accept\]\n.*?(?=^\[|\Z)", "", BASE.read_text(encoding="utf-8"))
    for name, value in arm.new.items():
        text, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text, count=1)
        assert count == 1, name
    steps = [
        "[[compress]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in step.items()) for step in arm.steps
    ]
    return text.rstrip() + "\n\n" + "\n".join(steps)


def evidence_of(checkpoint: Path, rows: Path, max_length: int) -> np.ndarray:
    """Logarithms of probability and tokens of each test row, float64 (rows, 2), by a checkpoint in fp32."""
    from edgekit.models.checkpoint import load
    from edgekit.tasks.encode import encode, read_split
    from edgekit.train.evaluate import text_log_probabilities

    data = encode(checkpoint, read_split(rows, "test"), TASK, max_length)
    return text_log_probabilities(load(checkpoint, TASK.auto), data)


def facts_of(arm: Arm, folder: Path) -> dict[str, Any]:
    """What is kept of one arm."""
    lineage = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    stages = {one["key"]: one for one in lineage["stages"]}
    chain = [stages[key] for key in lineage["chain"]]
    rows = (folder / lineage["rows"]).parent
    manifest = json.loads((folder / "bundle" / "manifest.json").read_text(encoding="utf-8"))["edgekit"]
    metrics = chain[-1]["metrics"]
    evidence = evidence_of(folder / chain[-1]["path"], rows, lineage["max_length"])
    return {
        "name": arm.name,
        "new": arm.new,
        "compress": list(arm.steps),
        "parameters": next(one["metrics"]["parameters"] for one in reversed(chain) if "parameters" in one["metrics"]),
        "perplexity_fp32": 1 / TASK.reduce(evidence),
        "evidence_fp32": [[round(total, 4), int(count)] for total, count in evidence],
        "bundle": {key: manifest["quality"][key] for key in ("bundle", "n", "ratio", "greedy") if key in manifest["quality"]},
        "bundle_bytes": sum(
            path.stat().st_size for path in (folder / "bundle").iterdir() if path.name.startswith("model.onnx")
        ),
        "download_bytes": (folder / "bundle.tar.gz").stat().st_size,
        "seconds": round(sum(one["seconds"] for one in (chain[1:] if len(chain) > 1 else chain)), 1),
        "metrics": {
            key: metrics[key]
            for key in ("kept", "influence", "start", "validation", "history", "error", "sparsity")
            if key in metrics
        },
    }


def main() -> None:
    """Run all arms and write what was found, after each of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build"))
    parser.add_argument("--minutes", type=float, default=30.0, help="begin no arm after so long")
    asked = parser.parse_args()
    target, until = best_target(detect()).name, time.monotonic() + 60 * asked.minutes
    recipes = asked.build / "language-distillation"
    recipes.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "schema_version": 1,
        "command": f"python -m benchmarks.language_distillation.compare --minutes {asked.minutes:g}",
        "recipe": BASE.stem,
        "target": target,
        "epochs": EPOCHS,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "environment": snapshot(),
        "arms": [],
        "left_out": [],
    }
    for arm in ARMS:
        if time.monotonic() >= until:
            document["left_out"].append({"name": arm.name, "why": "the time was over"})
            continue
        path = recipes / f"{re.sub('[^a-z0-9]+', '-', arm.name.lower())}.toml"
        path.write_text(recipe_text(arm), encoding="utf-8")
        try:
            (result,) = run_recipe(str(path), [target], asked.build, measure=False, show=Show(silent=True))
            found = facts_of(arm, result.path)
        except EdgekitError as fault:
            document["left_out"].append({"name": arm.name, "why": fault.text()})
            print(f"{arm.name}: {fault.text()}", flush=True)
            continue
        document["arms"].append(found)
        print(f"{arm.name}: {found['perplexity_fp32']:.2f}, {found['seconds']} s", flush=True)
        write_atomically(HERE / "results.json", json.dumps(document, sort_keys=True, indent=1) + "\n")
        write_page(HERE)


if __name__ == "__main__":
    main()
