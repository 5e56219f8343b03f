"""Run by test_spread.py, alone or by two processes together: compress a model once for each step, given as JSON with its `source`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from accelerate import Accelerator

from edgekit.compress.method import Work
from edgekit.compress.registry import find_method


def main(rows: Path, out: Path, steps: list[str]) -> None:
    """Write what each step makes to out/process-*/<number of the step>."""
    folder = out / f"process-{Accelerator().process_index}"
    for number, step in enumerate(map(json.loads, steps)):
        source = Path(step.pop("source"))
        made, scratch = folder / str(number), folder / f"scratch-{number}"
        made.mkdir(parents=True)
        scratch.mkdir()
        work = Work(
            source=source, original=source, dense=source, rows=rows, out=made, scratch=scratch, task="text-classification", max_length=32,
            seed=7, progress=lambda done, total, text: None, checkpoints={},
        )  # fmt: skip
        method = find_method(step["method"])
        method.run(work, method.settings.model_validate(step))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]), sys.argv[3:])
