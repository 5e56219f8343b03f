"""text-generation: the log-probability of each token of a text. Text is generated in `edgekit.runtime.generate`."""

from __future__ import annotations

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.processors import Asked, Output, Processor, finite
from edgekit.runtime.tokenise import Tokeniser, Window

__all__ = ["PROCESSOR", "TooShort", "answer", "line", "prepare"]


class TooShort(BadInput):
    """A text of one token, of which nothing can be predicted: no fault among many rows, which do without it."""


def prepare(tokenise: Tokeniser, item: object) -> list[Window]:
    """One window for a text, whole.

    Raises:
        BadInput: a text that cannot be used.
        TooShort: a text of one token, which has none before it.
    """
    window = tokenise.text(item)
    if len(window.ids) < 2:
        raise TooShort("a text of one token has none that could be predicted", fix="give at least two words")
    return [window]


def answer(outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> JsonObject:
    """The perplexity of a text and its mean log-probability a token, from log-probabilities of its tokens, float64 (1, tokens - 1).

    Raises:
        CheckFailed: log-probabilities that are not finite or of another shape.
    """
    ((log_probabilities,), (window,)) = outputs, windows
    if log_probabilities.shape != (1, len(window.ids) - 1):
        raise CheckFailed(f"the model gave an output of shape {log_probabilities.shape} for {len(window.ids)} tokens")
    mean = float(finite(log_probabilities[0], "log-probabilities").mean(dtype=np.float64))
    return {"tokens": len(window.ids), "log_probability": round(mean, 6), "perplexity": round(float(np.exp(-mean)), 4)}


def line(answer: JsonObject) -> str:
    """The generated text, or the perplexity of a text that was scored."""
    return str(answer["text"]) if "text" in answer else f"perplexity {answer['perplexity']:.2f} over {answer['tokens']} tokens"


PROCESSOR: Processor[JsonObject] = Processor(
    prepare,
    answer,
    line,
    outputs=(
        Output("text", "BYTES", 1, lambda answer: answer["text"]),
        Output("ended", "BYTES", 1, lambda answer: answer["ended"]),
        Output("prompt_tokens", "INT64", 1, lambda answer: answer["prompt_tokens"]),
        Output("new_tokens", "INT64", 1, lambda answer: answer["new_tokens"]),
    ),
)
