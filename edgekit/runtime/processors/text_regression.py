"""text-regression: a text, or a pair of texts, to a number, which the graph gives as it is to be read."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.processors import TRUNCATED, Asked, Output, Processor, finite
from edgekit.runtime.processors.text_classification import prepare, texts
from edgekit.runtime.tokenise import Window

__all__ = ["PROCESSOR", "Number", "answer", "line"]


class Number(TypedDict):
    """The answer."""

    score: float
    """In the unit of the labels that the model was trained on."""


def answer(outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> Number:
    """The number in an output float32 (1, 1).

    Raises:
        CheckFailed: an output that is not finite, or of another shape.
    """
    (output,) = outputs
    if output.shape != (1, 1):
        raise CheckFailed(f"the model gave an output of shape {output.shape} for one number")
    return {"score": round(float(finite(output, "a number")[0, 0]), 6)}


def line(answer: Number) -> str:
    """The number."""
    return f"{answer['score']:.4f}"


PROCESSOR = Processor(
    prepare, answer, line, outputs=(Output("score", "FP32", 1, lambda answer: answer["score"]), TRUNCATED), texts=texts
)
