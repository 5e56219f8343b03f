"""text-classification: one label for a text, or for a pair of texts (entailment, paraphrase) where rows have a `text_pair`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.tasks.losses import draw_class, hard_class, soft_class
from edgekit.tasks.reference import Reference, classification_pipeline, label_difference
from edgekit.tasks.task import Alone, EncoderTask

if TYPE_CHECKING:
    from edgekit.runtime.jsontypes import JsonObject, JsonValue
    from edgekit.runtime.tokenise import Window

__all__ = ["TASK"]


def items(row: JsonObject) -> list[JsonValue]:
    """The row's text, or its two texts as one input."""
    return [{"text": row["text"], "text_pair": row["text_pair"]} if "text_pair" in row else row["text"]]


def labels(row: JsonObject, windows: Sequence[Window], index: dict[str, int]) -> list[int]:
    """The index of the row's label; -1 where it has none."""
    return [-1 if row["label"] is None else index[str(row["label"])]]


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> list[float]:
    """1.0 where the largest logit is the row's label, else 0.0; their mean is accuracy."""
    return [float(names[int(outputs[0][0].argmax())] == row["label"])]


def accuracy(evidence: np.ndarray) -> float:
    """Mean of (rows, 1)."""
    return float(evidence.mean())


def answer(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> JsonObject:
    """The label of the largest logit."""
    return {"label": names[int(outputs[0][0].argmax())]}


TASK = EncoderTask(
    name="text-classification",
    title="one label for a text, or for a pair of texts",
    columns=("text", "label"),
    optional=("text_pair",),
    metric="accuracy",
    output="logits",
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
    alone=Alone("same label", answer),
    reference=Reference("transformers' text-classification pipeline", classification_pipeline, label_difference),
)
