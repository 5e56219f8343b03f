"""multi-label-classification: a text, or a pair of texts, to the labels that apply, each with a score of its own."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.processors import TRUNCATED, Asked, Output, Processor, finite, sigmoid
from edgekit.runtime.processors.text_classification import LabelScore, prepare, scored, texts
from edgekit.runtime.tokenise import Window

__all__ = ["PROCESSOR", "Labels", "answer", "line"]

USUAL = 0.5
"""Threshold where none was chosen."""


class Labels(TypedDict):
    """The answer."""

    labels: list[LabelScore]
    """Those that apply, the most probable first; none where no score reaches the bundle's threshold."""
    scores: list[LabelScore]
    """The `top_k` most probable, whether they apply or not."""


def answer(outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> Labels:
    """The labels whose score reaches the threshold, by the sigmoid of each of the logits float32 (1, labels).

    Raises:
        CheckFailed: logits that are not finite, or of another shape.
    """
    (logits,) = outputs
    if logits.shape != (1, len(asked.labels)):
        raise CheckFailed(f"the model gave an output of shape {logits.shape} for {len(asked.labels)} labels")
    scores = sigmoid(finite(logits[0], "logits"))
    order = np.argsort(-logits[0], kind="stable")
    threshold = USUAL if asked.threshold is None else asked.threshold
    every = scored(asked.labels, scores, order)
    return {"labels": every[: int((scores >= threshold).sum())], "scores": every[: max(1, asked.top_k)]}


def line(answer: Labels) -> str:
    """The labels that apply and their scores; then the others where there are `scores`."""
    others = [item for item in answer["scores"] if item not in answer["labels"]]
    applies, rest = (
        "  ".join(f"{item['label']} {item['score']:.3f}" for item in items) for items in (answer["labels"], others)
    )
    return (applies or "(no label)") + (f"  ({rest})" if rest else "")


PROCESSOR = Processor(
    prepare,
    answer,
    line,
    outputs=(
        Output("label", "BYTES", 2, lambda answer: [item["label"] for item in answer["scores"]]),
        Output("score", "FP32", 2, lambda answer: [item["score"] for item in answer["scores"]]),
        Output("applies", "BOOL", 2, lambda answer: [item in answer["labels"] for item in answer["scores"]]),
        TRUNCATED,
    ),
    texts=texts,
    lists="all",
)
