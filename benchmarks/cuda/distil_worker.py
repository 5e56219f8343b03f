"""Run by two_gpus.py under `accelerate launch`: distil the carried original once; the first process writes what came of it.

    accelerate launch --num_processes N --module benchmarks.cuda.distil_worker PLACE OUT '{"method": "distill", ...}'

PLACE holds original/ (a checkpoint) and rows/ (train, validation, test as JSON lines), as `benchmarks.cuda.lane prepare` lays them out.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from edgekit.compress.method import Work
from edgekit.compress.methods.distill import Settings, run
from edgekit.models.checkpoint import load
from edgekit.tasks import find_task
from edgekit.tasks.encode import encode, labels_of, read_split, score_of
from edgekit.train.evaluate import outputs_of


def main(place: Path, out: Path, settings: dict[str, Any]) -> None:
    facts = json.loads((place / "facts.json").read_text(encoding="utf-8"))
    process, count = Accelerator().process_index, Accelerator().num_processes
    made, scratch = out / f"student-{process}", out / f"scratch-{process}"
    for folder in (made, scratch):
        folder.mkdir(parents=True)
    marks: list[tuple[float, float]] = []

    def progress(done: float, total: float, text: str) -> None:
        if text.startswith("distill: epoch"):
            marks.append((done, time.perf_counter()))

    work = Work(
        source=place / "original", original=place / "original", dense=place / "original", rows=place / "rows", out=made, scratch=scratch,
        task=facts["task"], max_length=facts["max_length"], seed=facts["seed"], progress=progress,
    )  # fmt: skip
    given = Settings(**settings)
    history = run(work, given)["history"]
    assert isinstance(history, Mapping)
    if process:
        return
    task, rows = find_task(facts["task"]), read_split(place / "rows", "test")
    data = encode(made, rows, task, facts["max_length"])
    evidence = score_of(task, outputs_of(load(made, task.auto), task, data), data, rows, labels_of(made) if task.named else [])
    np.save(out / "evidence.npy", evidence, allow_pickle=False)
    (first, start), (last, end) = marks[min(1, len(marks) - 2)], marks[-1]  # the first steps choose kernels
    document = {
        "processes": count, "batch": given.batch, "epochs": given.epochs, "steps_per_s": (last - first) / (end - start),
        "rows_per_s": (last - first) * given.batch / (end - start), "validation": history["quality"], "test": task.reduce(evidence),
    }  # fmt: skip
    (out / "result.json").write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
