"""Training spread over two processes by `accelerate launch`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from edgekit.models.checkpoint import load
from edgekit.models.shapes import shapes_of
from tests.conftest import PYTHONPATH

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
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
"""What `accelerate launch --multi_gpu` runs in the end; with `--cpu` and no MPI it would start one process, whatever number is asked for."""
ON_CPU = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


@pytest.mark.parametrize(("rows", "world"), [(12, 2), (7, 2), (1, 2), (3, 4), (5, 1)])
def test_parts_of_a_batch_weigh_as_much_as_the_whole(rows: int, world: int) -> None:
    from edgekit.train.loop import part_of

    losses = np.random.default_rng(0).normal(size=100)
    batch = np.random.default_rng(1).permutation(100)[:rows]
    parts = [part_of(batch, rank, world) for rank in range(world)]
    assert all(len(mine) for mine, _ in parts)  # each process takes part in every step
    assert sorted(row for mine, share in parts if share for row in mine) == sorted(batch)
    np.testing.assert_allclose(np.mean([share * losses[mine].mean() for mine, share in parts]), losses[batch].mean())


def compress(source: Path, rows: Path, out: Path, command: list[str], steps: list[dict[str, Any]]) -> None:
    """Run compress_once.py by `command`; each process writes the checkpoint of each step to out/process-*/<number of the step>."""
    script, environment = str(Path(__file__).with_name("compress_once.py")), {**os.environ, "PYTHONPATH": PYTHONPATH, **ON_CPU}
    done = subprocess.run(
        [*command, script, str(source), str(rows), str(out), *map(json.dumps, steps)],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_two_processes_make_the_student_of_one(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    """Batches of odd sizes, odd in number, and one of a single row, which leaves a process without any."""
    source = tmp_path / "source"
    shutil.copytree(tiny_model, source)
    config = json.loads((source / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # processes draw it apart
    (source / "config.json").write_text(json.dumps(config))
    step = {"method": "distill", "layers": 2, "epochs": 2, "learning_rate": 3e-3, "hidden": "none", "warmup": 0.0}
    steps = [{**step, "batch": 9}, {**step, "batch": 79}]
    for out, command in (("one", [sys.executable]), ("two", LAUNCH)):
        compress(source, tiny_artifact, tmp_path / out, command, steps)
    for number in range(len(steps)):
        assert not (tmp_path / "one" / "process-1").exists()
        one, two, other = (
            load_file(tmp_path / process / str(number) / "model.safetensors")
            for process in ("one/process-0", "two/process-0", "two/process-1")
        )
        start = load_file(source / "model.safetensors")
        assert set(one) == set(two)
        for name in one:
            np.testing.assert_array_equal(two[name], other[name])
            if not name.endswith(
                "key.bias"
            ):  # softmax does not see it: its gradient is rounding alone, which Adam makes steps of
                np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-4, err_msg=name)
        moved = max(
            float(np.abs(one[name] - start[name]).max()) for name in one if start.get(name, one[name]).shape == one[name].shape
        )
        assert moved > 1e-3


def test_gates_are_the_same_in_all_processes(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    step = {"method": "prune-learned", "keep": 0.5, "epochs": 2, "batch": 9, "multiple_of": 8, "learning_rate": 1e-3}
    compress(tiny_model, tiny_artifact, tmp_path, LAUNCH, [step])
    one, other = (tmp_path / f"process-{rank}" / "0" for rank in range(2))
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert shapes_of(load(one)) != shapes_of(load(tiny_model))


@pytest.mark.slow
def test_two_processes_make_one_student(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "spread.toml").write_text(RECIPE.format(data=tiny_data))
    launch = [*LAUNCH, "-m", "edgekit", "export", "spread.toml", "--no-bench"]
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, **ON_CPU}
    done = subprocess.run(launch, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "build" / "store" / "distill").glob("*/stage.json")
    history = json.loads(record.read_text())["metrics"]["history"]
    assert history["quality"][history["best_epoch"] - 1] >= 0.8
    assert sorted(path.name for path in (tmp_path / "build").iterdir() if path.name.startswith(".rank")) == []
