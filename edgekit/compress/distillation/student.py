"""The model that a student starts from: the current one with fewer layers, heads, neurons or hidden dimensions, or another checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.compress.distillation.settings import Settings, starting_layers
from edgekit.compress.method import Work
from edgekit.compress.pruning.importance import importance_of, largest
from edgekit.models.anatomy import REFUSED
from edgekit.models.checkpoint import load, resolve, save
from edgekit.models.narrow import narrow
from edgekit.models.sentence import MODULES
from edgekit.models.shapes import cut, keep_layers, layer_count, shapes_of
from edgekit.tasks import Task
from edgekit.tasks.encode import encode, read_split
from edgekit.train.supervised import mark_pairs, pairs_in

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Student", "other_checkpoint", "starting_student", "teachers_of"]

WATCHED = 1024
"""Training rows that importance is measured on; Minitron takes as many."""
BATCH = 32


@dataclass(frozen=True)
class Student:
    """A model to train, and the checkpoint it comes from."""

    model: PreTrainedModel
    folder: Path
    """Checkpoint whose tokenizer and labels it has."""
    kept: list[int] | None
    """Indices of that checkpoint's hidden dimensions that were kept; None for all."""


def starting_student(work: Work, settings: Settings, task: Task) -> Student:
    """The student of `settings` before training.

    Raises:
        BadInput: more layers, heads, neurons or hidden dimensions than there are, an architecture that cannot be reshaped, unusable weights.
        NotPossibleHere: a hub id without a network.
    """
    if settings.student is not None:
        folder = other_checkpoint(work, settings.student, task, "student")
        return Student(load(folder, task.auto, head=task.head), folder, None)
    model, kept = load(work.source, task.auto), None
    asked = settings.narrows or settings.layers is not None or settings.take is not None
    if model.config.model_type in REFUSED and not asked:  # its layers cannot be cut, and need not be
        return Student(model, work.source, kept)
    layers = starting_layers(settings, layer_count(model))
    if settings.narrows:
        kept = _cut_to(model, work, settings, task)
    keep_layers(model, layers)
    return Student(model, work.source, kept)


def other_checkpoint(work: Work, name: str, task: Task, copy: str) -> Path:
    """The folder of a checkpoint that the settings name, or a copy in scratch, called `copy`: where rows are pairs, one that says so;
    of a sentence-transformers folder one with its modules and tokenizer as they are read.

    Raises:
        BadInput: weights that cannot be used for the task.
        NotPossibleHere: a hub id without a network.
    """
    folder = resolve(work.checkpoint(name))
    modules = task.auto == "AutoModel" and (folder / MODULES).is_file()
    if not pairs_in(work.rows) and not modules:
        return folder
    model = load(folder, task.auto)
    mark_pairs(model.config, pairs_in(work.rows))
    save(model, work.scratch / copy, tokenizer_files_from=Path(model.config.name_or_path))
    return work.scratch / copy


def teachers_of(work: Work, settings: Settings, task: Task) -> list[Path]:
    """Checkpoints of the teachers; hidden states and relations are the first one's.

    Raises:
        BadInput: weights that cannot be used for the task.
        NotPossibleHere: a hub id without a network.
    """
    own = {"original": [work.original], "dense": [work.dense], "none": []}[settings.teacher]
    return own + [other_checkpoint(work, name, task, f"adopted-{number}") for number, name in enumerate(settings.teachers)]


def _largest_of_each(importance: Sequence[np.ndarray], have: Sequence[int], asked: int | None, what: str) -> list[list[int]]:
    """Numbers of the `asked` most important parts of each layer; of all that it has where it has fewer, as long as another layer has
    so many.

    Raises:
        BadInput: more than any layer has.
    """
    wanted = [count if asked is None else min(asked, count) if asked <= max(have) else asked for count in have]
    return [largest(each, count, what) for each, count in zip(importance, wanted, strict=True)]


def _cut_to(model: PreTrainedModel, work: Work, settings: Settings, task: Task) -> list[int] | None:
    """Cut heads, neurons and hidden size as `settings` say, the least important first; returns the hidden dimensions that stay.

    A layer that earlier pruning left with fewer heads or neurons than are asked for keeps those that it has.
    """
    rows = read_split(work.rows, "train")
    picked = np.random.default_rng(work.seed).permutation(len(rows))[:WATCHED]
    data = encode(work.source, [rows[number] for number in sorted(picked)], task, work.max_length)
    order = np.argsort(data.lengths, kind="stable")
    feeds = [data.feed(order[start : start + BATCH]) for start in range(0, len(order), BATCH)]
    work.progress(0, 1, f"distill: importance of heads, neurons and hidden dimensions, over {len(picked):,} rows")
    importance, shapes = importance_of(model, feeds), shapes_of(model)
    heads = _largest_of_each(importance.heads, [shape.heads for shape in shapes], settings.heads, "heads")
    neurons = _largest_of_each(importance.neurons, [shape.neurons for shape in shapes], settings.neurons, "neurons")
    cut(model, heads, neurons)
    if settings.width is None:
        return None
    kept = largest(importance.hidden, settings.width, "width")
    narrow(model, kept)
    return kept
