"""Tasks: what a model is for. One file a task, in `encoders/` or `decoders/`; what a device does for it is in
`edgekit.runtime.processors`, under the same name.

A task's file holds `TASK`, and imports torch only inside the functions that compute with it: listing tasks stays cheap.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache

from edgekit.errors import BadInput
from edgekit.tasks.task import DecoderTask, EncoderTask, Kind, Task

__all__ = [
    "DecoderTask", "EncoderTask", "Kind", "Task", "decoder_task", "encoder_task", "find_task", "task_names",
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
    close = difflib.get_close_matches(name, tasks, n=1, cutoff=0.6)
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
