"""text-ranking: a query and passages to a score of each passage, and their order."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.processors import TRUNCATED, Asked, Output, Processor, finite, sigmoid
from edgekit.runtime.tokenise import Tokeniser, Window, checked

__all__ = ["MOST_PASSAGES", "PROCESSOR", "Ranking", "answer", "line", "prepare"]

MOST_PASSAGES = 4096
"""Passages of one query; more are a mistake or an attack."""


class Ranking(TypedDict):
    """The answer."""

    scores: list[float]
    """Of the passages, in the order in which they were given."""
    order: list[int]
    """Places of the passages in that order, counted from 0, the best one first."""


def prepare(tokenise: Tokeniser, item: object) -> list[Window]:
    """A window for each passage of {"query": ..., "passages": [...]} beside the query, the longer of the two being cut first.

    One passage may stand alone.

    Raises:
        BadInput: not such an object, no passage, too many, or texts that cannot be used.
    """
    fix = 'give {"query": "...", "passages": ["...", "..."]}'
    if not isinstance(item, dict) or set(item) != {"query", "passages"}:
        raise BadInput("text-ranking reads an object", fix=fix)
    query, passages = checked(item["query"], "query"), item["passages"]
    if isinstance(passages, str | bytes):
        return [tokenise.both(query, checked(passages, "passages"))]
    if not isinstance(passages, list) or not passages:
        raise BadInput("no list of passages", where="passages", fix=fix)
    if len(passages) > MOST_PASSAGES:
        raise BadInput(
            f"{len(passages):,} passages are more than {MOST_PASSAGES:,}",
            where="passages",
            fix="ask for them in parts: scores stay the same",
        )
    return [tokenise.both(query, checked(passage, f"passages[{number}]")) for number, passage in enumerate(passages)]


def answer(outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> Ranking:
    """The score of each passage, by its logit float32 (1, 1), and the order of the logits; of equals the earlier one comes first.

    Raises:
        CheckFailed: logits that are not finite, or of another shape.
    """
    wrong = next((output.shape for output in outputs if output.shape != (1, 1)), None)
    if wrong is not None or len(outputs) != len(windows):
        raise CheckFailed(f"the model gave an output of shape {wrong} for one passage")
    logits = finite(np.concatenate(outputs)[:, 0], "logits")
    scores = sigmoid(logits) if asked.activation == "sigmoid" else logits
    order = np.argsort(-logits, kind="stable")
    return {"scores": [float(f"{score:.7g}") for score in scores.astype(np.float64)], "order": order.tolist()}


def line(answer: Ranking) -> str:
    """The places of the passages, counted from 0, the best one first, each with its score."""
    return "  ".join(f"{place}: {answer['scores'][place]:.4f}" for place in answer["order"])


PROCESSOR = Processor(
    prepare,
    answer,
    line,
    outputs=(
        Output("score", "FP32", 2, lambda answer: answer["scores"]),
        Output("order", "INT64", 2, lambda answer: answer["order"]),
        TRUNCATED,
    ),
    texts=lambda pairs: (("query", "passages"), ()),
    listed=("passages",),
    alone=("passages",),
)
