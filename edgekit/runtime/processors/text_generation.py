"""text-generation: how likely a text is to a language model, token by token. Answers are made in `edgekit.runtime.generate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.processors import finite
from edgekit.runtime.tokenise import Pass, Tokeniser

__all__ = ["answer", "line", "prepare"]


def prepare(tokenise: Tokeniser, item: Any) -> list[Pass]:
    """One pass for a text, whole.

    Raises:
        BadInput: a text that cannot be used, or of one token, which nothing could predict.
    """
    one = tokenise.text(item)
    if len(one.ids) < 2:
        raise BadInput("a text of one token has none that could be predicted", fix="give at least two words")
    return [one]


def answer(outputs: list[np.ndarray], passes: list[Pass], labels: Sequence[str], top_k: int = 1) -> dict[str, Any]:
    """The perplexity of a text by the logarithms of its tokens' probabilities, float (1, tokens - 1).

    Raises:
        CheckFailed: logarithms that are not finite or of another shape.
    """
    ((chances,), (one,)) = outputs, passes
    if chances.shape != (1, len(one.ids) - 1):
        raise CheckFailed(f"the model gave an output of shape {chances.shape} for {len(one.ids)} tokens")
    mean = float(finite(chances[0], "probabilities").mean(dtype=np.float64))
    return {"tokens": len(one.ids), "log_probability": round(mean, 6), "perplexity": round(float(np.exp(-mean)), 4)}


def line(answer: dict[str, Any]) -> str:
    """The text that was made, or the perplexity of one that was given."""
    return str(answer["text"]) if "text" in answer else f"perplexity {answer['perplexity']:.2f} over {answer['tokens']} tokens"
