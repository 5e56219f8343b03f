"""Training spread over two processes by `accelerate launch`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """schema = 1
task = "text-classification"
[model]
max_length = 32
[model.new]
layers = 2
width = 32
heads = 4
neurons = 64
vocabulary = 200
epochs = 24
learning_rate = 3e-3
batch = 8
[data]
train = "{data}/train.jsonl"
validation = "{data}/validation.jsonl"
test = "{data}/test.jsonl"
[[compress]]
method = "distill"
layers = 1
epochs = 8
batch = 8
learning_rate = 3e-3
"""


@pytest.mark.slow
def test_two_processes_make_one_student(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "spread.toml").write_text(RECIPE.format(data=tiny_data))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "edgekit", "export", "spread.toml", "--no-bench"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "build" / "store" / "distill").glob("*/stage.json")
    history = json.loads(record.read_text())["metrics"]["history"]
    assert history["quality"][history["best_epoch"] - 1] >= 0.8
    assert sorted(path.name for path in (tmp_path / "build").iterdir() if path.name.startswith(".rank")) == []
