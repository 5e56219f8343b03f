"""How much faster a language model answers when a small model of the same vocabulary guesses next tokens, which changes no token.

    python -m benchmarks.speculation.drafted --draft FOLDER [--formats float32 int8-weights int4-weights] [--rounds 1] [--threads 1]

The model is wiki-28m; the small one, in 4 bits, is a checkpoint that `distil.py` made. Prompts are the 60 beginnings of
Wikipedia's validation articles of `texts.py`, asked as `compare.py` asks. A format that is measured takes the place of its former results in
drafted.json, and those of others stay; README.md is written anew.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.pages import write_results
from benchmarks.speculation.compare import (
    DRAFTED,
    HERE,
    ROOT,
    SETS,
    NumberFormat,
    Row,
    Timed,
    ask,
    model_of,
    summary,
    write_page,
)
from benchmarks.speculation.texts import free
from edgekit.runtime.chip import parse_cpuinfo, read_text
from edgekit.runtime.generate.cache import Prefixes
from edgekit.runtime.generate.draft import Draft
from edgekit.runtime.generate.speculate import WIDTHS, Speculation

FORMATS: tuple[NumberFormat, ...] = ("float32", "int8-weights", "int4-weights")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models", help="folder that holds wiki-28m")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data", help="folder that holds wikipedia")
    parser.add_argument("--draft", type=Path, required=True, help="folder of the small model's checkpoint")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    path = HERE / DRAFTED
    runs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else {}
    for number_format in asked.formats:
        runs[number_format] = measured(asked, number_format)
    document = {
        "command": "python -m benchmarks.speculation.drafted --draft build/drafts/1x256",
        "draft": json.loads((asked.draft / "made.json").read_text(encoding="utf-8")),
        "chip": parse_cpuinfo(read_text(Path("/proc/cpuinfo"))).model,
        "onnxruntime": metadata.version("onnxruntime"),
        "python": ".".join(map(str, sys.version_info[:3])),
        "runs": {number_format: runs[number_format] for number_format in FORMATS if number_format in runs},
    }
    write_results(path, document)
    write_page()
    return 0


def measured(asked: argparse.Namespace, number_format: NumberFormat) -> dict[str, Any]:
    """The prompts in one format, plainly and with the small model's guesses."""
    load = os.getloadavg()[0]
    source = asked.models / "wiki-28m"
    assert (source / "tokenizer.json").read_bytes() == (asked.draft / "tokenizer.json").read_bytes(), "one vocabulary"
    plain, fault = model_of(source, number_format, asked.threads)
    small, _ = model_of(asked.draft, "int4-weights", 1)  # as a bundle's is opened
    speculation = Speculation(plain.graph, fault, Draft(small.graph, plain.tokens))
    sides = (plain, replace(plain, prefixes=Prefixes(), speculation=speculation))
    prompts, draw, found = free(asked.data / "wikipedia/validation.jsonl.xz"), random.Random(7), {}
    for name, (kind, sampling) in SETS.items():
        if kind != "free":
            continue
        rows: list[Row] = [(one, Timed(), Timed()) for one in prompts]
        for row in rows * asked.rounds:
            for side in draw.sample((0, 1), 2):
                ask(sides[side], row[0], sampling, row[1:][side])
            assert row[1].tokens == row[2].tokens, "guesses change no token"
        found[name] = rows
    return {
        "rounds": asked.rounds,
        "threads": asked.threads,
        "load": {"before": round(load, 1), "after": round(os.getloadavg()[0], 1)},
        "costs": {str(width): round(speculation.cost(width), 3) for width in WIDTHS if width in speculation.proved},
        "guess": round(speculation.in_runs(speculation.guessing.value), 3),
        "fault": speculation.fault,
        "sets": [summary(name, rows) for name, rows in found.items()],
    }


if __name__ == "__main__":
    sys.exit(main())
