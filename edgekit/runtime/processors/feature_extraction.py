"""feature-extraction: the embedding of a text, pooled and normalised inside the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.processors import TRUNCATED, Output, Processor, finite
from edgekit.runtime.tokenise import Tokeniser, Window

__all__ = ["PROCESSOR", "answer", "line", "prepare"]


def prepare(tokenise: Tokeniser, item: Any) -> list[Window]:
    """One window for a text."""
    return [tokenise.text(item)]


def answer(outputs: list[np.ndarray], windows: list[Window], labels: Sequence[str], top_k: int = 1) -> dict[str, Any]:
    """The unit vector float32 (1, hidden size) of a text; `top_k` has no meaning here.

    Raises:
        CheckFailed: an output that is not finite or of another shape.
    """
    (vector,) = outputs
    if vector.ndim != 2 or len(vector) != 1:
        raise CheckFailed(f"the model gave an output of shape {vector.shape} for one embedding")
    return {"embedding": [round(float(value), 7) for value in finite(vector[0], "an embedding")]}


def line(answer: dict[str, Any]) -> str:
    """The first numbers of the vector and its length."""
    shown = ", ".join(f"{value:.4f}" for value in answer["embedding"][:6])
    return f"[{shown}, ...]  ({len(answer['embedding'])} numbers)"


PROCESSOR = Processor(
    prepare, answer, line, outputs=(Output("embedding", "FP32", 2, lambda answer: answer["embedding"]), TRUNCATED)
)
