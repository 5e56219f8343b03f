"""text-classification: logits to a label and its probability."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.runtime.errors import CheckFailed

__all__ = ["decode"]


def decode(logits: np.ndarray, labels: list[str], top_k: int = 1) -> list[dict[str, Any]]:
    """Answers for logits float32 (batch, labels): the likeliest label, its softmax, and `scores` of the `top_k` if above 1.

    Raises:
        CheckFailed: logits that are not finite, or of another width than there are labels.
    """
    if logits.ndim != 2 or logits.shape[1] != len(labels):
        raise CheckFailed(f"the model gave an output of shape {logits.shape} for {len(labels)} labels")
    if not np.isfinite(logits).all():
        raise CheckFailed("the model gave NaN or Inf instead of logits")
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability = exponent / exponent.sum(axis=1, keepdims=True)
    answers = []
    for row in probability:
        order = np.argsort(-row, kind="stable")[: max(1, top_k)]
        answer: dict[str, Any] = {"label": labels[order[0]], "score": round(float(row[order[0]]), 6)}
        if top_k > 1:
            answer["scores"] = [{"label": labels[index], "score": round(float(row[index]), 6)} for index in order]
        answers.append(answer)
    return answers
