"""Add what another machine made to a result: `python -m benchmarks.methods.join results/squad.json results/squad-elsewhere.json`.

Of the other result come the quality, the size and the seconds of each cell and seed that the first one lacks; times of different
runs do not stand side by side, so its times are left behind. The other file can then go. Its machine is named on the page.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.methods.page import RESULTS, write_page
from benchmarks.pages import write_results

TIMES = ("p50_ms", "ci95_ms", "peak_mb", "against_stock")
SAME = 0.002
"""How far apart the originals' own quality may lie: training and kernels differ a little by machine."""


def joined(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """`first` with the cells and seeds of `other` that it lacks, without their times.

    Raises:
        SystemExit: they are of different tasks or targets, or of originals that are not as good as one another.
    """
    for name in ("task", "target"):
        if first[name] != other[name]:
            raise SystemExit(
                f"{name}: one is {first[name]!r}, the other {other[name]!r}; only results of one {name} can be joined"
            )
    ones = [_original(document)["quality"]["value"] for document in (first, other)]
    if abs(ones[0] - ones[1]) > SAME:
        raise SystemExit(
            f"the originals differ: {ones[0]:.4f} and {ones[1]:.4f}; cells of different originals are not compared"
        )
    there = {(cell["name"], cell.get("seed")) for cell in first["cells"]}
    new = [
        {name: value for name, value in cell.items() if name not in TIMES}
        for cell in other["cells"]
        if cell["group"] != "baseline" and (cell["name"], cell["seed"]) not in there
    ]
    known = {cell["name"] for cell in [*first["cells"], *new]}
    machine = {"cpu": other["host"]["cpu"], **other["making"], "cells": [[cell["name"], cell["seed"]] for cell in new]}
    return {
        **first,
        "cells": [*first["cells"], *new],
        "left_out": [name for name in first["left_out"] if name not in known],
        "elsewhere": [*first.get("elsewhere", []), *([machine] if new else [])],
    }


def _original(document: dict[str, Any]) -> dict[str, Any]:
    return next(cell for cell in document["cells"] if cell["name"] == "ONNX Runtime fp32 of the original")


def main() -> None:
    """Join two files and write the first, and the page where it is one of the committed results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="the result that is added to, and written")
    parser.add_argument("other", type=Path, help="the result that is read")
    asked = parser.parse_args()
    first, other = (json.loads(path.read_text(encoding="utf-8")) for path in (asked.first, asked.other))
    found = joined(first, other)
    write_results(asked.first, found)
    print(f"{len(found['cells']) - len(first['cells'])} cells and seeds added to {asked.first}")
    if asked.first.resolve().parent == RESULTS:
        write_page()


if __name__ == "__main__":
    main()
