"""Distillation through `accelerate launch` on one and on two processes: is it the same student, and how much sooner is it there?

The recipe's batch is split between processes, so at its own size the students are compared; times are taken there and at a batch that
is large enough to keep two GPUs busy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.errors import CheckFailed

WORKER = "benchmarks.cuda.distil_worker"
ROOT = Path(__file__).resolve().parents[2]
LARGE = 512
PLAIN = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]


def measure(place: Path, device: str) -> dict[str, Any]:
    """Times, qualities and their paired difference; `place` as `benchmarks.cuda.lane prepare` lays it out."""
    from edgekit.runtime.bench.statistics import paired_difference
    from edgekit.tasks import find_task

    facts = json.loads((place / "facts.json").read_text(encoding="utf-8"))
    settings: dict[str, Any] = facts["settings"]
    runs: list[dict[str, Any]] = []
    for count in (1, 2):
        runs.append(once(place, device, count, settings))
        print(json.dumps(runs[-1]), flush=True)
    one, two = (np.load(place / "made" / f"{count}-{settings['batch']}" / "evidence.npy") for count in (1, 2))
    if device == "cuda":
        for count in (1, 2):
            runs.append(once(place, device, count, settings | {"batch": LARGE, "epochs": 3}))
            print(json.dumps(runs[-1]), flush=True)
    task = find_task(facts["task"])
    return {
        "recipe": facts["recipe"], "metric": facts["metric"], "rows": len(one), "runs": runs,
        "difference": paired_difference(one, two, facts["seed"], task.reduce),
    }  # fmt: skip


def once(place: Path, device: str, count: int, settings: dict[str, Any]) -> dict[str, Any]:
    """One student made by `count` processes; raises CalledProcessError or CheckFailed where one fails or is not there."""
    out = place / "made" / f"{count}-{settings['batch']}"
    shutil.rmtree(out, ignore_errors=True)
    if device == "cuda":
        launch = [
            "accelerate.commands.launch",
            "--num_processes",
            str(count),
            *(["--multi_gpu", "--main_process_port", "0"] if count > 1 else []),
            *PLAIN,
        ]
    else:  # `accelerate launch --cpu` starts one process without MPI, so what it runs for GPUs is run
        launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    launch = [sys.executable, "-m", *launch]
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    environment |= {"ACCELERATE_USE_CPU": "true"} if device == "cpu" else {}
    command = [*launch, "--module", WORKER, str(place.resolve()), str(out.resolve()), json.dumps(settings)]
    subprocess.run(command, env=environment, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    if found["processes"] != count:
        raise CheckFailed(f"{found['processes']} processes took part instead of {count}", where=WORKER)
    return found
