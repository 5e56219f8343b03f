"""feature-extraction: the embedding of a text, which the graph gives whole, after the prompt that the model was trained with."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.processors import TRUNCATED, Asked, Output, Processor, finite
from edgekit.runtime.tokenise import Tokeniser, Window

__all__ = ["PROCESSOR", "Embedding", "answer", "line", "prepare"]


class Embedding(TypedDict):
    """The answer."""

    embedding: list[float]
    """The vector, as sentence-transformers' `encode` gives it; of length 1 where the model normalises."""


def prepare(tokenise: Tokeniser, item: object) -> list[Window]:
    """One window for a text, or for {"text": ..., "prompt_name": ...}, with its prompt before it.

    Raises:
        BadInput: a text that cannot be used, another object, or a prompt that the model does not have.
    """
    text, name = (item.get("text"), item.get("prompt_name")) if isinstance(item, dict) else (item, None)
    if isinstance(item, dict) and not {"text"} <= set(item) <= {"text", "prompt_name"}:
        raise BadInput(
            f"not a text and a prompt's name: {', '.join(map(repr, item))}",
            fix='give the text alone, or {"text": "...", "prompt_name": "..."}',
        )
    prompt = tokenise.prompts.before(name.decode("utf-8", "replace") if isinstance(name, bytes) else name)
    return [tokenise.text(text, before=prompt, where="text" if isinstance(item, dict) else None)]


def answer(outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> Embedding:
    """The embedding of a text from the vector float32 (1, k) that the graph gives, each value rounded to seven decimals.

    Rounded in float64, where ten million times a float32 is exact, so that the values are those of Python's own `round`.

    Raises:
        CheckFailed: an output that is not finite or of another shape.
    """
    (vector,) = outputs
    if vector.ndim != 2 or len(vector) != 1:
        raise CheckFailed(f"the model gave an output of shape {vector.shape} for one embedding")
    values = finite(vector[0], "an embedding").astype(np.float64)
    return {"embedding": (np.rint(values * 1e7) / 1e7).tolist()}


def line(answer: Embedding) -> str:
    """The first values of the vector and how many it has."""
    shown = ", ".join(f"{value:.4f}" for value in answer["embedding"][:6])
    return f"[{shown}, ...]  ({len(answer['embedding'])} numbers)"


PROCESSOR = Processor(
    prepare, answer, line, outputs=(Output("embedding", "FP32", 2, lambda answer: answer["embedding"]), TRUNCATED)
)
