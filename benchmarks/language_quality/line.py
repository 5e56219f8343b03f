"""How long `edgekit export` takes on wiki-28m with 386 thousand test tokens, by stage, from nothing: in 8 bits as a recipe has it that says
nothing of numbers, and in 4 by GPTQ.

    python -m benchmarks.language_quality.line [--windows 754] [--models ../shared/models] [--data ../shared/data]

Rows: 1,500 of Wikipedia's training documents, 60 of its validation documents, and Wikitext-2's test text in windows of 512 tokens. Nothing is
timed of the bundle (`--no-bench`), as that takes as long as it is told to. Seconds of CPU are those of the whole command, all threads together.
Writes line.json and README.md beside this file; asks for a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from benchmarks.language_quality.page import write_page
from benchmarks.language_quality.rounding import ROOT, chip, versions
from benchmarks.language_quality.trained import CONTEXT, documents
from benchmarks.pages import write_results

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "language-quality" / "line"
FORMS = {"INT8, blocks of 64": "", "INT4, GPTQ": '[quantize]\nformat = "int4-weights"\nrounding = "gptq"\n'}
RECIPE = """schema = 1
task = "text-generation"
[model]
id = "{model}"
max_length = {context}
licence = "unknown"
[data]
train = "../train.jsonl"
validation = "../validation.jsonl"
test = "../test.jsonl"
"""
STAGE = re.compile(r"^\s+\d+/\d+\s+(\S.*?)\s+([\d.]+) s$")


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--windows", type=int, default=754, help="windows of test text")
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models", help="folder that holds wiki-28m")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data", help="folder of wikipedia and wikitext2")
    asked = parser.parse_args()
    checkpoint = (asked.models / "wiki-28m").resolve()
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    tokens = write_rows(checkpoint, asked.data, asked.windows)
    results = [run(name, checkpoint) for name in FORMS]
    document = {
        "schema_version": 1, "command": f"python -m benchmarks.language_quality.line --windows {asked.windows}",
        "machine": {"chip": chip(), "arch": platform.machine(), "cores": len(os.sched_getaffinity(0))}, "versions": versions(),
        "tokens": tokens, "windows": asked.windows, "results": results,
    }  # fmt: skip
    write_results(HERE / "line.json", document)
    write_page(HERE / "README.md")


def write_rows(checkpoint: Path, data: Path, windows: int) -> int:
    """The three splits as JSON lines; returns how many tokens the test rows have."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    ids = tokenizer.encode((data / "wikitext2" / "test.txt").read_text(encoding="utf-8")).ids[: windows * CONTEXT]
    wikipedia = data / "wikipedia"
    rows = {
        "train": islice(documents(wikipedia / "train.jsonl.xz"), 1500),
        "validation": islice(documents(wikipedia / "validation.jsonl.xz"), 60),
        "test": (tokenizer.decode(ids[start : start + CONTEXT]) for start in range(0, len(ids), CONTEXT)),
    }
    for split, texts in rows.items():
        text = "".join(json.dumps({"text": one}) + "\n" for one in texts)
        (BUILD / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return len(ids)


def run(name: str, checkpoint: Path) -> dict[str, Any]:
    """Seconds of one export, from nothing: in all, of CPU, and of each stage."""
    folder = BUILD / name.replace(",", "").replace(" ", "-").lower()
    folder.mkdir()
    recipe = folder / "wiki-28m.toml"
    recipe.write_text(RECIPE.format(model=checkpoint, context=CONTEXT) + FORMS[name], encoding="utf-8")
    load, before, start = os.getloadavg()[0], _cpu(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "export", str(recipe), "--target", "x86-vnni", "--no-bench", "--build", str(folder / "build")],
        env={**os.environ, "COLUMNS": "100"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stdout)
    stages = [
        {"stage": found[1], "seconds": float(found[2])} for line in done.stdout.splitlines() if (found := STAGE.match(line))
    ]
    return {"variant": name, "seconds": seconds, "cpu_seconds": _cpu() - before, "load": load, "stages": stages}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
