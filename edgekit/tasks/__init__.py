"""Tasks: what a model is for. One file a task; its decoder for devices stands in `edgekit.runtime.decode`.

A task module has `TASK = Task(...)`. This package imports no torch; the functions of a task do when they are called.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["Task", "eager_predictor", "find_task", "task_names"]


@dataclass(frozen=True)
class Task:
    """One task, as every stage sees it."""

    name: str
    """Name in recipes; one of optimum's task names."""
    title: str
    columns: tuple[str, ...]
    """Columns a row must have."""
    metric: str
    """Name of the headline metric, between 0 and 1, higher is better."""
    outputs: tuple[str, ...]
    """Names of the exported graph's outputs."""
    graph: Callable[[Any], torch.nn.Module]
    """Wraps a transformers model as a module (input_ids, attention_mask) -> outputs, the form that is exported."""
    correct: Callable[[np.ndarray, list[str], list[dict[str, Any]]], np.ndarray]
    """(outputs of shape (rows, classes), label names, rows) -> float64 array (rows,) of scores in 0..1 whose mean is the metric."""


@cache
def _tasks() -> dict[str, Task]:
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    return {module.TASK.name: module.TASK for module in modules if hasattr(module, "TASK")}


def task_names() -> list[str]:
    """Names of all tasks."""
    return sorted(_tasks())


def find_task(name: str) -> Task:
    """The task called `name`, in optimum's vocabulary of synonyms too.

    Raises:
        BadInput: no such task here.
    """
    tasks = _tasks()
    if name in tasks:
        return tasks[name]
    close = difflib.get_close_matches(name, tasks, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise BadInput(f"no task named {name!r}", fix=f"{hint}Known: {', '.join(sorted(tasks))}.")


def eager_predictor(task: str, folder: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """PyTorch eager fp32 of a checkpoint, for the benchmark: ids int64 (1, n) -> outputs float32 (1, classes)."""
    import numpy as np
    import torch

    from edgekit.models.checkpoint import load

    torch.set_num_threads(threads)
    model = find_task(task).graph(load(folder))
    model.eval()

    def predict(ids: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            output = model(torch.from_numpy(ids), torch.ones(ids.shape, dtype=torch.int64))
        return np.asarray(output.numpy())

    return predict
