"""One process that takes jobs off the list and does them, until none is left or the time is over."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.language_compression.arms import ADAPTERS, ARMS, BASE, RATES, RECOVERIES, SHAPES, Arm
from benchmarks.language_compression.texts import LENGTH
from edgekit.compress.method import Work
from edgekit.compress.registry import find_method
from edgekit.progress import silent

__all__ = ["ORIGINAL", "WINDOWS", "Job", "Plan", "costs", "jobs_of", "scores", "work_off"]

TASK = "text-generation"
WINDOWS, ORIGINAL = "windows.npz", "original.npz"
"""Ids of the windows, and the original's likeliest next tokens of each."""
BATCH = {False: 16, True: 64}
"""Rows of a step: of training rows, and of the shorter ones that a model writes."""


@dataclass(frozen=True)
class Plan:
    """Where everything lies, and how much of it there is."""

    model: Path
    state: Path
    """Folder of the rows, the windows, shapes, results, claims and what is at work."""
    seeds: tuple[int, ...]
    rows: int
    """Training rows."""
    tokens: int
    """Tokens of them."""
    taught: int
    """Tokens on which the shape that sets the cost is taught by half teacher."""
    precision: str
    until: float
    """`time.time()` from which no job is begun that would take longer than others of its kind took."""

    def folder(self, *names: str) -> Path:
        """A folder of the state, made where it is not there."""
        path = self.state.joinpath(*names)
        path.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class Job:
    """One arm by one seed."""

    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        return _slug(f"{self.arm.name}-{self.seed}")

    @property
    def kind(self) -> str | None:
        """Jobs of one kind take about as long."""
        return self.arm.recovery


def jobs_of(seeds: tuple[int, ...]) -> list[Job]:
    """All there is to do, in order of worth."""
    return [Job(arm, seed) for arm in ARMS for seed in seeds]


def work_off(plan: Plan) -> None:
    """Do what no other process has begun, the first on the list first."""
    import torch

    import edgekit.compress.distillation.completions as completions

    completions.TOGETHER = 256  # texts that the teacher writes at a time: a GPU has room for more than a CPU's caches
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    todo = jobs_of(plan.seeds)
    done = plan.folder("results")
    while todo := [job for job in todo if not (done / f"{job.name}.json").is_file()]:
        if time.time() >= plan.until:
            return
        for job in todo:
            if _ready(plan, job) and _in_time(plan, job) and _claimed(plan, job):
                _do(plan, job)
                break
        else:
            time.sleep(1)


def _ready(plan: Plan, job: Job) -> bool:
    """Whether the shape that it trains is there, and that which sets the cost."""
    if job.arm.recovery is None:
        return True
    needed = (
        plan.state / "shapes" / f"{_slug(BASE)}-{plan.seeds[0]}",
        plan.state / "shapes" / f"{_slug(job.arm.shape)}-{job.seed}",
    )
    return all((folder / "config.json").is_file() for folder in needed)


def _in_time(plan: Plan, job: Job) -> bool:
    took = [one["seconds"] for one in _results(plan) if one["recovery"] == job.kind]
    return time.time() + (max(took) if took else 0) < plan.until


def _claimed(plan: Plan, job: Job) -> bool:
    try:
        with (plan.folder("claims") / job.name).open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return False
    return True


def _results(plan: Plan) -> Iterator[dict[str, Any]]:
    for path in sorted(plan.folder("results").glob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def _do(plan: Plan, job: Job) -> None:
    """Make the model, score it, and write its result last."""
    started, arm = time.time(), job.arm
    scratch = plan.folder("scratch", job.name)
    facts: dict[str, Any] = {
        "name": arm.name,
        "shape": arm.shape,
        "recovery": arm.recovery,
        "seed": job.seed,
    }
    kept = plan.folder("shapes") / f"{_slug(arm.shape)}-{job.seed}"
    if arm.recovery is None:
        source, metrics = plan.model, []
        for number, step in enumerate(SHAPES[arm.shape].steps):
            out = scratch / f"step-{number}"
            shutil.rmtree(out, ignore_errors=True)
            metrics.append(_run(plan, step, source, out, scratch / f"scratch-{number}", job.seed))
            source = out
        shutil.copytree(source, kept.with_suffix(".part"), dirs_exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)  # of a process that was killed before it had written its result
        os.replace(kept.with_suffix(".part"), kept)
        facts |= {"steps": list(SHAPES[arm.shape].steps), "metrics": metrics[-1]}
    else:
        step = settings_of(plan, job, kept)
        source = scratch / "trained"
        shutil.rmtree(source, ignore_errors=True)
        metrics_of = _run(plan, step, kept, source, scratch / "epochs", job.seed)
        facts |= {"steps": [*SHAPES[arm.shape].steps, step], "metrics": metrics_of}
    facts |= {"scores": scores(source, plan.state), **costs(source)}
    facts["seconds"] = round(time.time() - started, 1)
    shutil.rmtree(scratch, ignore_errors=True)
    part = plan.folder("results") / f"{job.name}.part"
    part.write_text(json.dumps(facts), encoding="utf-8")
    os.replace(part, part.with_suffix(".json"))
    print(f"{job.name}: {facts['seconds']} s", flush=True)


def _run(plan: Plan, step: dict[str, Any], source: Path, out: Path, scratch: Path, seed: int) -> dict[str, Any]:
    """One step of edgekit's own; returns its metrics."""
    out.mkdir(parents=True)
    scratch.mkdir(parents=True, exist_ok=True)
    method = find_method(step["method"])
    work = Work(source, plan.model, plan.model, plan.state / "rows", out, scratch, TASK, LENGTH, seed, silent)
    return dict(method.run(work, method.settings(**step)))


def settings_of(plan: Plan, job: Job, shape: Path) -> dict[str, Any]:
    """The step that trains: as many rows, and passes over them, as the cost allows."""
    recovery = RECOVERIES[str(job.arm.recovery)]
    teacher, student = (costs(folder)["multiplications"] for folder in (plan.model, shape))
    most = plan.taught * (3 * costs_of_base(plan) + teacher)
    tokens = most / (recovery.student * student + recovery.teacher * teacher)
    length = sum(recovery.settings.get(name, 0) for name in ("prompt", "tokens")) or plan.tokens / plan.rows
    wanted = max(1, round(tokens / length))
    epochs = math.ceil(wanted / plan.rows)
    rate = RATES[SHAPES[job.arm.shape].family] if recovery.kind == "all weights" else ADAPTERS
    return {
        "method": "distill-decoder", **recovery.settings, "rows": round(wanted / epochs), "epochs": epochs,
        "batch": BATCH[recovery.written], "learning_rate": rate, "precision": plan.precision,
    }  # fmt: skip


def costs_of_base(plan: Plan) -> float:
    """Multiplications of a token of the shape that sets the cost."""
    return float(costs(plan.state / "shapes" / f"{_slug(BASE)}-{plan.seeds[0]}")["multiplications"])


def costs(folder: Path) -> dict[str, Any]:
    """Weights of a checkpoint, and its multiplications for a token in the middle of a window."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    hidden, layers, neurons, words = (
        config[name] for name in ("hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size")
    )
    queries, pairs = (config[name] * config["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
    block = hidden * (2 * queries + 2 * pairs + 3 * neurons)
    return {
        "parameters": layers * (block + 2 * hidden) + hidden + words * hidden,
        "multiplications": layers * (block + 2 * queries * LENGTH // 2) + words * hidden,
    }


def scores(folder: Path, state: Path) -> dict[str, dict[str, Any]]:
    """By text: of each window the log-probability of its tokens, and how many of the likeliest next tokens are the original's, which is scored
    first."""
    import torch

    from edgekit.models.checkpoint import load
    from edgekit.models.device import on_fastest_device
    from edgekit.tasks import find_task

    model, found = load(folder, find_task(TASK).auto), {}
    chosen = dict(np.load(state / ORIGINAL)) if (state / ORIGINAL).is_file() else {}
    likeliest: dict[str, np.ndarray] = {}
    with on_fastest_device(model) as device, torch.inference_mode():
        for name, ids in np.load(state / WINDOWS).items():
            sums, tokens = [], []
            for start in range(0, len(ids), 16):
                batch = torch.from_numpy(ids[start : start + 16]).to(device)
                probable = torch.log_softmax(model(input_ids=batch, use_cache=False).logits[:, :-1].float(), dim=-1)
                sums += probable.gather(-1, batch[:, 1:, None])[..., 0].double().sum(dim=1).tolist()
                tokens.append(probable.argmax(dim=-1).short().cpu().numpy())
            likeliest[name] = np.concatenate(tokens)
            same = (likeliest[name] == chosen.get(name, likeliest[name])).sum(axis=1).tolist()
            found[name] = {"log_probability": [round(one, 3) for one in sums], "same": same, "tokens": ids.shape[1] - 1}
    if not chosen:
        np.savez(state / ORIGINAL, **likeliest)  # type: ignore[arg-type]
    return found
