"""Tasks: what a model is for. One file a task; what a device does of it stands in `edgekit.runtime.processors`, under the same name.

A task module has `TASK = Task(...)`. This package imports no torch; the functions of a task do when they are called.
Shapes below: b passes through the model, s tokens of the longest, k numbers a pass or a token.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import torch

    from edgekit.runtime.tokenise import Pass

__all__ = ["Task", "eager_predictor", "eager_reader", "find_task", "graph_of", "task_names"]


@dataclass(frozen=True)
class Task:
    """One task, as every stage sees it."""

    name: str
    """Name in recipes; one of optimum's task names."""
    title: str
    columns: tuple[str, ...]
    """Columns a row must have."""
    metric: str
    """Name of the headline metric, higher is better, shown in points of a hundredth."""
    outputs: tuple[str, ...]
    """Name of the exported graph's output."""
    auto: str
    """The transformers class that builds the model from a configuration."""
    per_token: bool
    """Whether the output is (b, s, k), a row of numbers for each token, or (b, k)."""
    items: Callable[[dict[str, Any]], list[Any]]
    """A row -> the inputs it asks about, each as a device is given it."""
    labels: Callable[[dict[str, Any], list[Pass], dict[str, int]], Any]
    """(row, the passes of its first input, number of each label) -> what the model should have answered in each pass."""
    tensor: Callable[[Any, Any, torch.Tensor], torch.Tensor]
    """(model, its transformers output, mask (b, s)) -> the output."""
    hard: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    """(output, labels, mask (b, s)) -> loss of each pass against its true labels, (b,); 0 where there is none."""
    soft: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
    """(student's output, teacher's, labels, mask, temperature) -> mean loss against the teacher, temperature^2 included."""
    draw: Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]
    """(output, mask, generator) -> labels drawn from the model's own predictions, as `hard` takes them."""
    evidence: Callable[[list[np.ndarray], list[list[Pass]], dict[str, Any], list[str]], list[float]]
    """(outputs of all passes of a row, the passes of each of its inputs, row, label names) -> the numbers that count."""
    reduce: Callable[[np.ndarray], float]
    """Evidence of some rows, float64 (rows, numbers) -> the metric over them."""
    optional: tuple[str, ...] = ()
    """Columns that all rows of a set may have too, or none of them."""
    named: bool = True
    """Whether the model's outputs have label names."""
    pairs: bool = False
    """Whether a pass always holds two texts."""
    supervised: bool = True
    """Whether training rows tell the model what to answer; else the teacher alone does."""
    generates: bool = False
    """Whether models of the task make text, one token after the other: they are lowered, scored and packed their own way."""
    alone: str = ""
    """Name of the metric on rows of a `text` alone, held against the original's own outputs; empty where rows must say more."""

    def metric_on(self, columns: Sequence[str]) -> str:
        """Name of the metric on rows of `columns`."""
        return self.alone if self.alone and list(columns) == ["text"] else self.metric


@cache
def _tasks() -> dict[str, Task]:
    """Every file here that has a TASK; the others are not imported, as some of them need torch."""
    files = [file for file in sorted(Path(__file__).parent.glob("*.py")) if "\nTASK = " in file.read_text(encoding="utf-8")]
    modules = [importlib.import_module(f"{__name__}.{file.stem}") for file in files]
    return {module.TASK.name: module.TASK for module in modules}


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


def graph_of(task: Task, model: Any) -> torch.nn.Module:
    """`model` as the module that is exported: (input_ids, attention_mask[, token_type_ids]) int64 (b, s) -> the task's output."""
    from edgekit.tasks.graph import Graph

    return Graph(model, task.tensor)


def eager_predictor(task: str, folder: Path, threads: int) -> tuple[list[str], Callable[[dict[str, np.ndarray]], np.ndarray]]:
    """PyTorch eager fp32 of a checkpoint, for the benchmark: (names of inputs, feed of one pass -> output float32 (1, ...))."""
    import numpy as np
    import torch

    from edgekit.models.checkpoint import load
    from edgekit.models.files import input_names

    torch.set_num_threads(threads)
    kind = find_task(task)
    model = graph_of(kind, load(folder, kind.auto))
    model.eval()

    def predict(feed: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            output = model(**{name: torch.from_numpy(array) for name, array in feed.items()})
        return np.asarray(output.numpy())

    return input_names(folder, pairs=kind.pairs), predict


def eager_reader(folder: Path, threads: int) -> Callable[[np.ndarray, int], int]:
    """PyTorch eager fp32 of a language model's checkpoint, for the benchmark: a `Step` of `edgekit.runtime.bench.measure_language`."""
    import numpy as np
    import torch

    from edgekit.models.checkpoint import load

    torch.set_num_threads(threads)
    model = load(folder, find_task("text-generation").auto)
    model.eval()
    cache: Any = None

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
