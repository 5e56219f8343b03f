"""text-classification: one label for a text, by AutoModelForSequenceClassification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.tasks import Task

if TYPE_CHECKING:
    import torch

__all__ = ["TASK"]


def graph(model: Any) -> torch.nn.Module:
    """The exported form: (input_ids int64 (b, s), attention_mask int64 (b, s)) -> logits float32 (b, labels)."""
    from edgekit.tasks.masking import with_plain_mask

    return with_plain_mask(model, "logits")


def correct(logits: np.ndarray, labels: list[str], rows: list[dict[str, Any]]) -> np.ndarray:
    """1.0 where the largest logit is the row's label, else 0.0; their mean is accuracy."""
    index = {label: position for position, label in enumerate(labels)}
    wanted = np.array([index[row["label"]] for row in rows])
    return np.asarray(logits.argmax(axis=-1) == wanted, dtype=np.float64)


TASK = Task(
    name="text-classification",
    title="one label for a text",
    columns=("text", "label"),
    metric="accuracy",
    outputs=("logits",),
    graph=graph,
    correct=correct,
)
