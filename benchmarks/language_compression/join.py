"""Join the packed results of `compare.py` to results.json: `python -m benchmarks.language_compression.join results.tar.xz`, and write README.md.

Of an arm's seeds the log-probabilities of each window are averaged; intervals are over windows, paired with the original's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.language_compression.page import write_page
from benchmarks.pages import perplexity_change, write_results
from edgekit.runtime.bench.statistics import paired_difference
from edgekit.tasks.decoders.text_generation import mean_probability

HERE = Path(__file__).resolve().parent
SEED = 7
COMMAND = "python -m benchmarks.language_compression.compare --minutes 15 --gpus 0 --workers 5"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("packed", type=Path)
    parser.add_argument("--machine", default="one NVIDIA H200, shared with other work", help="what it was made on")
    parser.add_argument("--command", default=COMMAND, help="what it was made by")
    parser.add_argument(
        "--cost-tokens", type=int, default=1_200_000, help="on which four of eight blocks were taught by half teacher"
    )
    asked = parser.parse_args()
    with tarfile.open(asked.packed) as archive:
        found = [json.load(archive.extractfile(one)) for one in archive.getmembers() if one.name.endswith(".json")]  # type: ignore[arg-type]
    (original,) = (one for one in found if one["name"] == "the original")
    arms = defaultdict(list)
    for one in found:
        if one is not original:
            arms[one["shape"], one["recovery"]].append(one)
    document = {
        "command": asked.command,
        "machine": asked.machine,
        "rows": original["rows"],
        "cost_tokens": asked.cost_tokens,
        "original": {**_told([original], original), "parameters": original["parameters"], "multiplications": original["multiplications"]},
        "shapes": [
            {"shape": shape, "steps": runs[0]["steps"], "seeds": sorted(one["seed"] for one in runs)}
            | {name: runs[0][name] for name in ("parameters", "multiplications")}
            | _told(runs, original)
            for (shape, recovery), runs in sorted(arms.items(), key=lambda item: item[0][0])
            if recovery is None
        ],
        "trained": [
            {"shape": shape, "recovery": recovery, "step": runs[0]["steps"][-1], "seeds": sorted(one["seed"] for one in runs)}
            | {"seconds": sorted(one["seconds"] for one in runs)}
            | _told(runs, original)
            for (shape, recovery), runs in sorted(arms.items(), key=lambda item: (item[0][0], item[0][1] or ""))
            if recovery is not None
        ],
    }  # fmt: skip
    write_results(HERE / "results.json", document)
    write_page()
    return 0


def _told(runs: list[dict[str, Any]], original: dict[str, Any]) -> dict[str, Any]:
    """By text, perplexity, its change against the original with an interval, and the share of equal likeliest tokens."""
    texts = {}
    for name, base in original["scores"].items():
        count = np.full(len(base["log_probability"]), base["tokens"])
        each = [np.asarray(one["scores"][name]["log_probability"]) for one in runs]
        before, after = (
            np.stack([sums, count], axis=1) for sums in (np.asarray(base["log_probability"]), np.mean(each, axis=0))
        )
        value, low, high = perplexity_change(paired_difference(before, after, SEED, mean_probability)["ratio"])
        texts[name] = {
            "perplexity": 1 / mean_probability(after),
            "by_seed": [round(1 / mean_probability(np.stack([sums, count], axis=1)), 3) for sums in each],
            "change": {"value": value, "ci95": [low, high]},
            "same": float(np.mean([np.sum(one["scores"][name]["same"]) for one in runs]) / count.sum()),
            "windows": len(count),
        }
    return {"texts": texts}


if __name__ == "__main__":
    sys.exit(main())
