"""README.md of this folder, from results.json alone: `python -m benchmarks.load.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import row

__all__ = ["HERE", "page"]

HERE = Path(__file__).resolve().parent
HEAD = """# What loading a bundle costs

`{bundle}` is loaded by this edgekit ({commits[now]}) and by {commits[before]}, the last commit before bundles were read as hostile, in
{rounds} rounds of two fresh processes each, on an {chip} with {cores} cores that others use too (load {load[0]:.1f} before and {load[1]:.1f} after);
medians, and what a round's process took more with its 95% interval. Both together are what a process pays until it can answer; CPU is the
process's own time. An answer is the median of 2,000 warmed ones to "{text}". onnxruntime {tools[onnxruntime]}, tokenizers {tools[tokenizers]}.
[The numbers](results.json). Regenerate with

    {command}

| | before | now | more |
|---|---:|---:|---:|
"""
ROWS = (
    ("importing", "import_ms", 1), ("loading", "load_ms", 1), ("importing, CPU", "import_cpu_ms", 1), ("loading, CPU", "load_cpu_ms", 1),
    ("an answer", "answer_ms", 4),
)  # fmt: skip


def page(document: dict[str, Any]) -> str:
    """README.md from the results."""
    lines = []
    for title, name, digits in ROWS:
        more = document["more"][name]
        low, high = more["ci95"]
        before, now = (f"{document['medians'][way][name]:.{digits}f} ms" for way in ("before", "now"))
        lines.append(row([title, before, now, f"{more['median']:+.{digits}f} ms ({low:+.{digits}f} to {high:+.{digits}f})"]))
    return HEAD.format(**document) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    (HERE / "README.md").write_text(page(json.loads((HERE / "results.json").read_text(encoding="utf-8"))), encoding="utf-8")
