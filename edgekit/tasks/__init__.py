"""Tasks: what a model is for. One file a task, in `encoders/` or `decoders/`; what a device does for it is in
`edgekit.runtime.processors`, under the same name.

A task's file holds `TASK`, and imports torch only inside the functions that compute with it: listing tasks stays cheap.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import BadInput
from edgekit.tasks.task import DecoderTask, EncoderTask, Kind, Task

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "DecoderTask", "EncoderTask", "Kind", "Task", "decoder_task", "eager_predictor", "eager_reader", "encoder_task", "find_task",
    "task_names",
]  # fmt: skip


@cache
def _tasks() -> dict[str, Task]:
    """The `TASK` of every file in `encoders/` and `decoders/`, by name."""
    tasks: list[Task] = []
    for folder in ("encoders", "decoders"):
        package = importlib.import_module(f"{__name__}.{folder}")
        modules = [
            importlib.import_module(f"{package.__name__}.{module.name}") for module in pkgutil.iter_modules(package.__path__)
        ]
        tasks += [module.TASK for module in modules]
    return {task.name: task for task in tasks}


def task_names() -> list[str]:
    """Names of all tasks."""
    return sorted(_tasks())


def find_task(name: str) -> Task:
    """The task called `name`.

    Raises:
        BadInput: no such task here.
    """
    tasks = _tasks()
    if name in tasks:
        return tasks[name]
    close = difflib.get_close_matches(name, tasks, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise BadInput(f"no task named {name!r}", fix=f"{hint}Known: {', '.join(sorted(tasks))}.")


def encoder_task(name: str) -> EncoderTask:
    """The encoders' task called `name`, for what serves encoders alone.

    Raises:
        BadInput: no such task here, or one of decoders.
    """
    task = find_task(name)
    if isinstance(task, EncoderTask):
        return task
    raise BadInput(f"{name} is a task of decoders, and an encoder's is needed")


def decoder_task(name: str) -> DecoderTask:
    """The decoders' task called `name`, for what serves decoders alone.

    Raises:
        BadInput: no such task here, or one of encoders.
    """
    task = find_task(name)
    if isinstance(task, DecoderTask):
        return task
    raise BadInput(f"{name} is a task of encoders, and a decoder's is needed")


def eager_predictor(task: str, folder: Path, threads: int) -> tuple[list[str], Callable[[dict[str, np.ndarray]], np.ndarray]]:
    """PyTorch eager fp32 of an encoder's checkpoint, for the benchmark: (input names, one window's feed -> output float32 (1, ...)).

    A lineage names this function, and a benchmark's process imports it by that name.
    """
    import numpy as np
    import torch

    from edgekit.models.checkpoint import load
    from edgekit.models.files import input_names
    from edgekit.tasks.graph import graph_of

    torch.set_num_threads(threads)
    kind = encoder_task(task)
    model = graph_of(kind, load(folder, kind.auto))
    model.eval()

    def predict(feed: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            output = model(**{name: torch.from_numpy(array) for name, array in feed.items()})
        return np.asarray(output.numpy())

    return input_names(folder, pairs=kind.pairs), predict


def eager_reader(folder: Path, threads: int) -> Callable[[np.ndarray, int], int]:
    """PyTorch eager fp32 of a decoder's checkpoint, for the benchmark: a `Step` of `edgekit.runtime.bench.measure_language`."""
    import numpy as np
    import torch
    from transformers import Cache

    from edgekit.models.checkpoint import load

    torch.set_num_threads(threads)
    model = load(folder, decoder_task("text-generation").auto)
    model.eval()
    cache: Cache | None = None

    def step(ids: np.ndarray, room: int) -> int:
        nonlocal cache
        with torch.inference_mode():
            output = model(
                input_ids=torch.from_numpy(np.asarray(ids))[None], past_key_values=None if room else cache, use_cache=True,
                logits_to_keep=1,
            )  # fmt: skip
        cache = output.past_key_values
        return int(output.logits[0, -1].argmax())

    return step
