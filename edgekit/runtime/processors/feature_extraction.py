"""feature-extraction: the embedding of a text, pooled and normalised inside the graph."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.processors import TRUNCATED, Asked, Output, Processor, finite
from edgekit.runtime.tokenise import Tokeniser, Window

__all__ = ["PROCESSOR", "Embedding", "answer", "line", "prepare"]


class Embedding(TypedDict):
    """The answer."""

    embedding: list[float]
    """The vector, of length 1."""


def prepare(tokenise: Tokeniser, item: object) -> list[Window]:
    """One window for a text."""
    return [tokenise.text(item)]


def answer(outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> Embedding:
    """The embedding of a text from the unit vector float32 (1, hidden size) that the graph gives.

    Raises:
        CheckFailed: an output that is not finite or of another shape.
    """
    (vector,) = outputs
    if vector.ndim != 2 or len(vector) != 1:
        raise CheckFailed(f"the model gave an output of shape {vector.shape} for one embedding")
    return {"embedding": [round(float(value), 7) for value in finite(vector[0], "an embedding")]}


def line(answer: Embedding) -> str:
    """The first values of the vector and how many it has."""
    shown = ", ".join(f"{value:.4f}" for value in answer["embedding"][:6])
    return f"[{shown}, ...]  ({len(answer['embedding'])} numbers)"


PROCESSOR = Processor(
    prepare, answer, line, outputs=(Output("embedding", "FP32", 2, lambda answer: answer["embedding"]), TRUNCATED)
)
