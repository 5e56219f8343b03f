"""The score from which a label applies, where each label has a score of its own: chosen on validation rows, 0.5 where none is better.

A model is judged at its best threshold while it is trained or its number format is chosen; the test rows are answered with the one that
the validation rows chose, which the bundle keeps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit.runtime.jsontypes import JsonObject
from edgekit.tasks.encode import Encoded, score_of
from edgekit.tasks.task import Task

__all__ = ["USUAL", "best_threshold", "quality_on", "shifted"]

USUAL = 0.5
STEPS = 20
"""Thresholds are multiples of one part in so many."""


def shifted(outputs: Sequence[np.ndarray], threshold: float) -> list[np.ndarray]:
    """Logits less the logit of `threshold`: a label applies where what is left is not negative."""
    offset = np.float32(math.log(threshold / (1 - threshold)))
    return [output - offset for output in outputs]


def best_threshold(
    task: Task, outputs: Sequence[np.ndarray], data: Encoded, rows: Sequence[JsonObject], labels: list[str]
) -> tuple[float, float]:
    """(threshold, the task's metric with it) that is best on `rows`; of equals the one nearest to 0.5."""
    candidates = sorted((number / STEPS for number in range(1, STEPS)), key=lambda one: (abs(one - USUAL), one))
    qualities = [task.reduce(score_of(task, shifted(outputs, one), data, rows, labels)) for one in candidates]
    best = int(np.argmax(qualities))
    return candidates[best], qualities[best]


def quality_on(task: Task, outputs: list[np.ndarray], data: Encoded, rows: Sequence[JsonObject], labels: list[str]) -> float:
    """The task's metric of `outputs` on `rows`, at the best threshold where the task has one."""
    if task.thresholds:
        return best_threshold(task, outputs, data, rows, labels)[1]
    return task.reduce(score_of(task, outputs, data, rows, labels))
