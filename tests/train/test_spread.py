"""Training spread over two processes, as `accelerate launch` starts them."""

from __future__ import annotations

import json
import os
import shutil
import socket
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
from tests.train import compress_once

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


def together(rows: Path, out: Path, steps: list[dict[str, Any]]) -> None:
    """Run compress_once.py in two processes, which find each other as those of `accelerate launch` do."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    command = [sys.executable, str(Path(compress_once.__file__)), str(rows), str(out), *map(json.dumps, steps)]
    processes = [
        subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": PYTHONPATH, **ON_CPU, **world, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said


STUDENT = {"method": "distill", "layers": 2, "epochs": 2, "learning_rate": 3e-3, "hidden": "none", "warmup": 0.0}
GATES = {"method": "prune-learned", "keep": 0.5, "epochs": 2, "batch": 9, "multiple_of": 8, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def steps(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Batches of odd sizes, odd in number, and one of a single row, which leaves a process without any; then gates that are learned."""
    source = tmp_path_factory.mktemp("spread") / "source"
    shutil.copytree(tiny_model, source)
    config = json.loads((source / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # processes draw it apart
    (source / "config.json").write_text(json.dumps(config))
    return [{**STUDENT, "source": str(source), "batch": batch} for batch in (9, 79)] + [{**GATES, "source": str(tiny_model)}]


@pytest.fixture(scope="module")
def two(steps: list[dict[str, Any]], tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes make: process-0 and process-1, with a checkpoint of each step."""
    out = tmp_path_factory.mktemp("two")
    together(tiny_artifact, out, steps)
    return out


def test_two_processes_make_the_student_of_one(
    steps: list[dict[str, Any]], two: Path, tiny_artifact: Path, tmp_path: Path
) -> None:
    compress_once.main(tiny_artifact, tmp_path, [json.dumps(step) for step in steps[:2]])
    for number in range(2):
        one, first, other = (
            load_file(folder / str(number) / "model.safetensors")
            for folder in (tmp_path / "process-0", two / "process-0", two / "process-1")
        )
        start = load_file(Path(steps[0]["source"]) / "model.safetensors")
        assert set(one) == set(first)
        for name in one:
            np.testing.assert_array_equal(first[name], other[name])
            if not name.endswith(
                "key.bias"
            ):  # softmax does not see it: its gradient is rounding alone, which Adam makes steps of
                np.testing.assert_allclose(first[name], one[name], rtol=0, atol=1e-4, err_msg=name)
        moved = max(
            float(np.abs(one[name] - start[name]).max()) for name in one if start.get(name, one[name]).shape == one[name].shape
        )
        assert moved > 1e-3


def test_gates_are_the_same_in_all_processes(tiny_model: Path, two: Path) -> None:
    one, other = (two / f"process-{rank}" / "2" for rank in range(2))
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert shapes_of(load(one)) != shapes_of(load(tiny_model))


@pytest.mark.slow
def test_two_processes_make_one_student(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "spread.toml").write_text(RECIPE.format(data=tiny_data))
    # What `accelerate launch --multi_gpu` runs in the end; with `--cpu` and no MPI it would start one process, whatever number is asked for.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    launch += ["-m", "edgekit", "export", "spread.toml", "--no-bench"]
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, **ON_CPU}
    done = subprocess.run(launch, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "build" / "store" / "distill").glob("*/stage.json")
    history = json.loads(record.read_text())["metrics"]["history"]
    assert history["quality"][history["best_epoch"] - 1] >= 0.8
    assert sorted(path.name for path in (tmp_path / "build").iterdir() if path.name.startswith(".rank")) == []
