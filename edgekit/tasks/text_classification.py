"""text-classification: one label for a text, or for a pair of texts (entailment, paraphrase) where rows have a `text_pair`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.tasks import Task
from edgekit.tasks.losses import draw_class, hard_class, soft_class

if TYPE_CHECKING:
    from edgekit.runtime.tokenise import Pass

__all__ = ["TASK"]


def items(row: dict[str, Any]) -> list[Any]:
    """The row's text, or its two texts as one input."""
    return [{"text": row["text"], "text_pair": row["text_pair"]} if "text_pair" in row else row["text"]]


def labels(row: dict[str, Any], passes: list[Pass], index: dict[str, int]) -> list[int]:
    """The number of the row's label; -1 where it has none."""
    return [-1 if row["label"] is None else index[row["label"]]]


def evidence(outputs: list[np.ndarray], inputs: list[list[Pass]], row: dict[str, Any], names: list[str]) -> list[float]:
    """1.0 where the largest logit is the row's label, else 0.0; their mean is accuracy."""
    return [float(names[int(outputs[0][0].argmax())] == row["label"])]


def accuracy(found: np.ndarray) -> float:
    """Mean of (rows, 1)."""
    return float(found.mean())


TASK = Task(
    name="text-classification",
    title="one label for a text, or for a pair of texts",
    columns=("text", "label"),
    optional=("text_pair",),
    metric="accuracy",
    outputs=("logits",),
    auto="AutoModelForSequenceClassification",
    per_token=False,
    items=items,
    labels=labels,
    tensor=lambda model, output, mask: output.logits,
    hard=hard_class,
    soft=soft_class,
    draw=draw_class,
    evidence=evidence,
    reduce=accuracy,
)
