"""Make and measure the grid: `python -m benchmarks.methods.grid clinc150 wnut17 stsb squad` (or `make methods`).

With `--post-training` the cells that train are left out, which takes minutes a task instead of hours. With `--minutes N` nothing new is
begun after so long; what was made, now or earlier, is measured, and the page names the rest.

Every cell goes through the store, so a second run makes only what is new. Latency is taken of all cells of a task in one
interleaved run, together with ONNX Runtime fp32 and off-the-shelf INT8 of the same original. With `--jobs N` several are made
at once; where there is a GPU, training runs on it.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.methods.cells import CELLS, SEEDS, TASKS, Cell
from benchmarks.methods.measuring import measure
from benchmarks.methods.page import write_page
from benchmarks.pages import write_results
from edgekit.config.quantize import own_settings
from edgekit.config.target import best_target
from edgekit.config.toml import as_toml
from edgekit.errors import EdgekitError
from edgekit.host import detect
from edgekit.pipeline.execute import run_stages
from edgekit.pipeline.run import run_recipe
from edgekit.plan.make import make_plan
from edgekit.plan.needs import fetch
from edgekit.progress import Show
from edgekit.tasks import find_task

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"
BUILD = Path("build")
OURS = 0.8
"""Share of a GPU's memory for the tensors of all jobs on it; the rest is what each process takes besides, about 0.6 GB."""


def recipe_text(base: dict[str, Any], cell: Cell, seed: int, second: str | None = None) -> str:
    """The cell's recipe: the base's task, model and data, and what the cell changes; `second`: the folder of a second teacher."""
    document = {**base, "seed": seed, "accept": {}}
    document["compress"] = base.get("compress", []) if cell.whole else [dict(step) for step in cell.compress]
    if cell.second and second:
        document["compress"][-1]["teachers"] = [second]
    if cell.quantize:
        document["quantize"] = own_settings(
            {**best_target(detect()).quantize.model_dump(exclude_none=True, exclude={"accuracy_level"}), **cell.quantize}
        )
    if cell.calibration:
        document["calibration"] = cell.calibration
    return as_toml(document)


def base_of(path: Path) -> dict[str, Any]:
    """The recipe at `path`, its paths made absolute."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    document["model"] = {**document["model"], "id": _absolute(document["model"]["id"], path)}
    document["data"] = {
        name: [_source(one, path) for one in value] if isinstance(value, list) else _source(value, path)
        for name, value in document["data"].items()
    }
    return document


def with_original(base: dict[str, Any], task: str, target: str) -> dict[str, Any]:
    """`base` with a finished original: one that the recipe trains is trained once, as another seed would make another original."""
    if "finetune" not in base["model"]:
        return base
    given = {name: value for name, value in base["model"].items() if name != "finetune"}
    return {**base, "model": {**given, "id": _original(base, "original", SEEDS[0], task, target)}}


def second_teacher(base: dict[str, Any], task: str, target: str) -> str:
    """The folder of a second teacher for `base`: squad's encoder with a head that the task's rows train, of a seed that no cell has."""
    encoder = base_of(ROOT / "recipes" / "squad.toml")["model"]
    model = {**encoder, "max_length": base["model"]["max_length"]}
    return _original({**base, "model": model}, "second teacher", SEEDS[-1] + 1, task, target)


def _original(base: dict[str, Any], name: str, seed: int, task: str, target: str) -> str:
    """The folder of the original that `base` trains, made through the store."""
    written = _written(base, Cell(name, "baseline"), seed, task)
    plan = make_plan(str(written), [target], detect())
    if any(need.origin == "network" for need in plan.needs):
        fetch(plan.needs, Show(silent=True))
        plan = make_plan(str(written), [target], detect())
    stages = plan.stages()
    done = run_stages(stages[: stages.index(plan.original) + 1], BUILD, Show(silent=True)).artifacts
    return str(done[plan.original.key].path.resolve())


def run_cell(base: dict[str, Any], cell: Cell, seed: int, task: str, target: str, second: str | None = None) -> Path:
    """Make one cell through the store; returns its result folder."""
    path = _written(base, cell, seed, task, second)
    (result,) = run_recipe(str(path), [target], BUILD, measure=False, show=Show(silent=True))
    return result.path


def _written(base: dict[str, Any], cell: Cell, seed: int, task: str, second: str | None = None) -> Path:
    path = BUILD / "methods" / f"{_slug(task, cell, seed)}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(recipe_text(base, cell, seed, second), encoding="utf-8")
    return path


def _slug(task: str, cell: Cell, seed: int) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in f"{task} {cell.name} {seed}").strip("-").lower()


def _source(value: Any, base: Path) -> Any:
    """A source of rows: a path, or a table, which says of a public file all that there is to say."""
    return _absolute(value, base) if isinstance(value, str) else value


def _absolute(value: str, base: Path) -> str:
    name, mark, column = value.partition("#")
    path = (base.parent / name).resolve()
    return f"{path}{mark}{column}" if path.exists() else value


def make(task: str, recipe: str, chosen: list[Cell], until: float, jobs: int, at_once: int) -> dict[str, Any]:
    """Make the cells of `task`, new ones before the clock shows `until`, then measure all together; returns the result document."""
    target = best_target(detect()).name
    given = base_of(ROOT / "recipes" / f"{recipe}.toml")
    base = with_original(given, task, target)
    chosen = [cell for cell in chosen if find_task(base["task"]).supervised or not cell.labelled]
    second = second_teacher(given, task, target) if any(cell.second for cell in chosen) else None
    steps = tuple(base.get("compress", []))
    chosen = [
        replace(cell, compress=steps) if cell.whole else cell for cell in chosen
    ]  # so that the result says what they were
    # Further seeds come after all cells, so that they are what `--minutes` cuts off first.
    again = [cell for cell in chosen if cell.trains]
    asked = [(cell, SEEDS[0]) for cell in chosen] + [(cell, seed) for seed in SEEDS[1:] for cell in again]
    cells: dict[str, dict[str, Any]] = {}
    failed: list[dict[str, str]] = []
    console = Console()
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _settle, (context.Value("i", 0), jobs)) as pool:
        outcomes = pool.map(partial(_attempt, base, second, task, target, until), *zip(*asked, strict=True))
        for number, ((cell, seed), outcome) in enumerate(zip(asked, outcomes, strict=True), 1):
            console.print(f"{number:3}/{len(asked)}  [bold]{task}: {cell.name}[/], seed {seed}: {outcome.get('why', 'made')}")
            if "folder" in outcome:
                cells[_slug(task, cell, seed)] = {"cell": cell, "seed": seed, "folder": outcome["folder"]}
            elif outcome["failed"]:
                failed.append({"name": cell.name, "seed": str(seed), "why": outcome["why"]})
    if not cells:
        raise SystemExit(f"{task}: no cell was made, so there is nothing to measure; what was said of each stands above")
    found = {one["cell"].name for one in cells.values()} | {one["name"] for one in failed}
    left_out = [cell.name for cell in chosen if cell.name not in found]
    return {
        **measure(cells, target, at_once),
        "task": task,
        "failed": failed,
        "left_out": left_out,
        "making": {"jobs": jobs, "gpu": _gpu()},
    }


def _settle(taken: Any, jobs: int) -> None:
    """Give this process its own share of the cores, and of the memory of one GPU where there are some."""
    import torch

    with taken.get_lock():
        number = taken.value
        taken.value += 1
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cores[number % len(cores) :: jobs]))
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(str(place) for place in range(len(detect().gpus)))).split(",")
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(OURS / math.ceil(jobs / len(gpus)))


def _attempt(
    base: dict[str, Any], second: str | None, task: str, target: str, until: float, cell: Cell, seed: int
) -> dict[str, Any]:
    """{"folder"} of a cell that was made, or {"failed", "why"}; in a process of its own, so that several are made at once."""
    if time.monotonic() >= until and not (BUILD / f"{_slug(task, cell, seed)}-{target}" / "lineage.json").is_file():
        return {"failed": False, "why": "not begun, the time is over"}
    try:
        return {"folder": run_cell(base, cell, seed, task, target, second)}
    except EdgekitError as fault:
        return {"failed": True, "why": fault.text()}
    except Exception as fault:  # one cell's accident must not lose the others; the page names it
        return {"failed": True, "why": f"{type(fault).__name__}: {fault}"}


def _gpu() -> str | None:
    """What training ran on, if not on the CPU."""
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def main() -> int:
    """Make the grids of the tasks asked for, or of all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", choices=TASKS, help="left out: all")
    parser.add_argument("--post-training", action="store_true", help="leave out the cells that train")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing new after so long")
    parser.add_argument("--jobs", type=int, default=1, help="cells that are made at once, each in a process of its own")
    parser.add_argument(
        "--rounds-at-once",
        type=int,
        default=1,
        help="rounds of the measurement side by side, for a quiet machine of many cores; 0: time nothing (see benchmarks.methods.join)",
    )
    parser.add_argument("--only", nargs="+", metavar="TEXT", default=[""], help="cells whose names contain one of these")
    parser.add_argument("--suffix", default="", help="write results/TASK-SUFFIX.json, beside what is there")
    asked = parser.parse_args()
    until = time.monotonic() + 60 * asked.minutes
    chosen = [
        cell for cell in CELLS if not (asked.post_training and cell.trains) and any(text in cell.name for text in asked.only)
    ]
    if not chosen:
        parser.error(f"no cell is named like {' or '.join(asked.only)}; see benchmarks/methods/cells.py")
    command = " ".join(["python", "-m", "benchmarks.methods.grid", *map(shlex.quote, sys.argv[1:])])
    for task in asked.tasks or TASKS:
        document = {**make(task, TASKS[task], chosen, until, asked.jobs, asked.rounds_at_once), "command": command}
        name = f"{task}-{asked.suffix}" if asked.suffix else task
        out = (RESULTS if asked.rounds_at_once else BUILD / "methods") / f"{name}.json"
        write_results(out, document)
        if not asked.rounds_at_once:
            print(f"{out} has no times, so it has no place on the page by itself: give it to benchmarks.methods.join")
    write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())
