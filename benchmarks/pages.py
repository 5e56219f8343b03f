"""What the benchmarks' result files and pages share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["perplexity_change", "row", "write_results"]


def write_results(path: Path, document: Mapping[str, Any]) -> None:
    """Write `document` as committed results are: keys sorted, one space a level, so that a new run's differences can be read."""
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def row(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def perplexity_change(ratio: Mapping[str, Any]) -> tuple[float, float, float]:
    """Relative change of perplexity and its 95% interval, as shares, from the ratio of mean probabilities, its inverse."""
    low, high = (1 / bound - 1 for bound in reversed(ratio["ci95"]))
    return 1 / ratio["value"] - 1, low, high
