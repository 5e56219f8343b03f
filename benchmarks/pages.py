"""What the benchmarks' result files and pages share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.plan.recipes import load_recipe

__all__ = ["epochs_of", "perplexity_change", "row", "shortened", "write_results"]


def write_results(path: Path, document: Mapping[str, Any]) -> None:
    """Write `document` as committed results are: keys sorted, one space a level, so that a new run's differences can be read.

    Its command names results under build/, wherever they lay.
    """
    if "command" in document:
        document = {**document, "command": " ".join(map(_placed, document["command"].split(" ")))}
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _placed(word: str) -> str:
    path = Path(word)
    return f"build/{path.name}" if path.is_absolute() and (path / "lineage.json").exists() else word


def epochs_of(recipe: Mapping[str, Any]) -> list[int]:
    """Epochs of every training of a recipe as results hold it, in their order."""
    made = [recipe["model"].get(table) or {} for table in ("new", "finetune")]
    return [int(step["epochs"]) for step in [*made, *recipe["compress"]] if step.get("epochs") is not None]


def shortened(name: str, epochs: Sequence[int]) -> bool:
    """Whether the steps that compress had fewer epochs than in the shipped recipe `name`, as trainings have that only times are wanted of."""
    shipped = epochs_of(load_recipe(name)[2].model_dump())
    steps = min(len(shipped), len(epochs))
    return any(one < other for one, other in zip(list(epochs)[-steps:], shipped[-steps:], strict=True)) if steps else False


def row(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def perplexity_change(ratio: Mapping[str, Any]) -> tuple[float, float, float]:
    """Relative change of perplexity and its 95% interval, as shares, from the ratio of mean probabilities, its inverse."""
    low, high = (1 / bound - 1 for bound in reversed(ratio["ci95"]))
    return 1 / ratio["value"] - 1, low, high
