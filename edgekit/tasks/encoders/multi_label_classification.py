"""multi-label-classification: the labels that apply to a text, any number of them, or to a pair of texts where rows have a `text_pair`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from edgekit.tasks.encoders.text_classification import items
from edgekit.tasks.losses import draw_labels, hard_labels, soft_labels
from edgekit.tasks.reference import Reference, classification_pipeline, label_difference
from edgekit.tasks.task import Alone, EncoderTask

if TYPE_CHECKING:
    from edgekit.runtime.jsontypes import JsonObject
    from edgekit.runtime.tokenise import Window

__all__ = ["TASK"]


ORIGINAL = "by_original"
"""Column of a row whose labels are those that the original gave: there may be none in any row, which is no F1 and yet agreement."""


def labels(row: JsonObject, windows: Sequence[Window], index: dict[str, int]) -> list[np.ndarray]:
    """1 for each label of the row and 0 for the others; -1 for all where nothing is known of it."""
    if row["label"] is None:
        return [np.full(len(index), -1, dtype=np.int64)]
    applies = np.zeros(len(index), dtype=np.int64)
    applies[[index[label] for label in cast("list[str]", row["label"])]] = 1
    return [applies]


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> list[float]:
    """For each label whether it is predicted, its logit not being negative; then for each whether it is true. Of labels that the original
    gave, 1.0 where they are the same."""
    true = set(cast("list[str]", row["label"]))
    if ORIGINAL in row:
        return [float({name for name, logit in zip(names, outputs[0][0], strict=True) if logit >= 0} == true)]
    return [*(outputs[0][0] >= 0).astype(np.float64).tolist(), *(float(name in true) for name in names)]


def micro_f1(evidence: np.ndarray) -> float:
    """F1 over all labels of all rows, 2 correct / (predicted + true), as scikit-learn's `average="micro"`; the mean of (rows, 1).

    Where no label was true and none was predicted, all is right (scikit-learn's `zero_division=1`).
    """
    if evidence.shape[1] == 1:
        return float(evidence.mean())
    correct, predicted, true = (counts.sum() for counts in _counts(evidence))
    return float(2 * correct / (predicted + true)) if predicted + true else 1.0


def macro_f1(evidence: np.ndarray) -> float:
    """Mean over labels of the F1 of each, 0 for one that is neither predicted nor true, as scikit-learn's `average="macro"`."""
    correct, predicted, true = _counts(evidence)
    return float((2 * correct / np.maximum(predicted + true, 1)).mean())


def _counts(evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often each label is predicted rightly, is predicted, and is true."""
    predicted, true = np.split(evidence, 2, axis=1)
    return (predicted * true).sum(axis=0), predicted.sum(axis=0), true.sum(axis=0)


def answer(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> JsonObject:
    """The labels whose logit is not negative."""
    return {"label": [name for name, logit in zip(names, outputs[0][0], strict=True) if logit >= 0], ORIGINAL: True}


TASK = EncoderTask(
    name="multi-label-classification",
    title="the labels that apply to a text, or to a pair of texts",
    columns=("text", "label"),
    optional=("text_pair",),
    kinds={"label": "labels"},
    metric="micro F1",
    output="logits",
    auto="AutoModelForSequenceClassification",
    per_token=False,
    items=items,
    labels=labels,
    tensor=lambda model, output, mask: output.logits,
    hard=hard_labels,
    soft=soft_labels,
    draw=draw_labels,
    evidence=evidence,
    reduce=micro_f1,
    alone=Alone("same labels", answer),
    head="labels",
    thresholds=True,
    beside={"macro F1": macro_f1},
    reference=Reference("transformers' text-classification pipeline", classification_pipeline, label_difference),
)
