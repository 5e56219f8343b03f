"""Write README.md from results.json: `python -m benchmarks.language_distillation.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import perplexity_change, row
from edgekit.runtime.bench.statistics import paired_difference
from edgekit.tasks import find_task

__all__ = ["write_page"]

HERE = Path(__file__).resolve().parent
TASK = find_task("text-generation")
SEED = 7
COLUMNS = (
    "model",
    "parameters",
    "perplexity",
    "against the original",
    "INT4 bundle",
    "says the original's token",
    "download",
    "training",
)

NOTE = (
    "Perplexity in fp32 on the test texts, lower is better; against the original with a paired 95% interval over texts. The bundle has "
    "its weights in 4 bits (GPTQ). Its choices of a next token are held against the fp32 original's on the same texts. Download: "
    "`bundle.tar.gz`. Training: seconds of the steps after the original on a machine shared with other work, one thread: an order of "
    "magnitude, no more."
)


def write_page(folder: Path) -> None:
    """The table of all arms, the comparisons that decide, and what follows from them (`verdict.md`)."""
    document: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    arms = {arm["name"]: arm for arm in document["arms"]}
    original = document["arms"][0]
    lines = [
        "# Distilling a small decoder: what it gives and what it costs",
        "",
        (folder / "verdict.md").read_text(encoding="utf-8").strip(),
        "",
        row(COLUMNS),
        f"|---|{'---:|' * (len(COLUMNS) - 1)}",
        *(_row(arm, original) for arm in arms.values()),
        "",
        NOTE,
        "",
        "Two arms held against one another, by the same texts (above 0: the first is worse):",
        "",
        *(
            f"- {one}, against {other}: {_rise(arms[one], arms[other])}"
            for one, other in _pairs()
            if one in arms and other in arms
        ),
    ]
    if document["left_out"]:
        lines += ["", "Left out: " + "; ".join(f"{one['name']} ({one['why']})" for one in document["left_out"]) + "."]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _pairs() -> list[tuple[str, str]]:
    labels, half = "2 blocks, labels of the rows alone", "2 blocks, rows: half teacher, half labels"
    sequence, own = "2 blocks, the teacher's texts", "2 blocks, its own texts"
    return [
        (half, labels),
        ("2 blocks, rows: the teacher alone", labels),
        (sequence, half),
        (own, half),
        ("2 blocks, rows for 2 epochs, its own texts for 1", half),
        ("control: 2 blocks from nothing, as many steps", half),
        ("control: 2 blocks from nothing, as long as the original", half),
        ("half the neurons, then rows", "half the neurons, then rows, LoRA of rank 8"),
    ]


def _row(arm: dict[str, Any], original: dict[str, Any]) -> str:
    same = arm["bundle"]["greedy"]["agreement"]["value"]
    own = arm["name"] == original["name"] or arm["new"]
    cells = [
        arm["name"],
        f"{arm['parameters'] / 1e6:.2f} M",
        f"{arm['perplexity_fp32']:.1f}",
        "" if arm is original else _rise(arm, original),
        f"{1 / arm['bundle']['bundle']:.1f}",
        "" if arm["new"] else f"{same:.0%}",
        f"{arm['download_bytes'] / 1e6:.2f} MB",
        f"{arm['seconds']:.0f} s" + (" (all of it)" if own else ""),
    ]
    return row(cells)


def _rise(arm: dict[str, Any], base: dict[str, Any]) -> str:
    """How much higher the perplexity of `arm` is than that of `base`, in percent with its interval."""
    before, after = (np.asarray(one["evidence_fp32"]) for one in (base, arm))
    found = paired_difference(before, after, SEED, TASK.reduce)["ratio"]
    value, low, high = perplexity_change(found)
    return f"{value:+.1%} ({low:+.1%} to {high:+.1%})"


if __name__ == "__main__":
    write_page(HERE)
