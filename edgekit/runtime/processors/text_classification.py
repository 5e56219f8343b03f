"""text-classification: a text, or a pair of texts, to a label and its probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.processors import TRUNCATED, Asked, Output, Processor, finite, softmax
from edgekit.runtime.tokenise import Tokeniser, Window

__all__ = ["PROCESSOR", "Classification", "LabelScore", "answer", "line", "prepare", "scored"]


class LabelScore(TypedDict):
    """A label and its probability."""

    label: str
    score: float


class Classification(LabelScore):
    """The answer: the most probable label."""

    scores: NotRequired[list[LabelScore]]
    """The `top_k` most probable, where that is above 1."""


def prepare(tokenise: Tokeniser, item: object) -> list[Window]:
    """One window for a text, or for {"text": ..., "text_pair": ...}, the longer of which is cut first.

    Raises:
        BadInput: texts that cannot be used, another object, a text where the model reads pairs, or a pair where it reads texts.
    """
    if not isinstance(item, dict):
        if tokenise.pairs:
            raise BadInput("this model compares two texts", fix='give {"text": "...", "text_pair": "..."}')
        return [tokenise.text(item)]
    if tokenise.pairs is False:
        raise BadInput("this model reads one text", fix="give the text alone")
    if set(item) != {"text", "text_pair"}:
        raise BadInput(f"not a pair of texts: {', '.join(map(repr, item))}", fix='give {"text": "...", "text_pair": "..."}')
    return [tokenise.both(item["text"], item["text_pair"], where=("text", "text_pair"))]


def answer(outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> Classification:
    """The most probable label by the softmax of logits float32 (1, labels), and `asked.top_k` most probable where that is above 1.

    Raises:
        CheckFailed: logits that are not finite, or of another shape.
    """
    (logits,), labels, top_k = outputs, asked.labels, asked.top_k
    if logits.shape != (1, len(labels)):
        raise CheckFailed(f"the model gave an output of shape {logits.shape} for {len(labels)} labels")
    probabilities = softmax(finite(logits[0], "logits"))
    if top_k <= 1:
        place = int(probabilities.argmax())
        return {"label": labels[place], "score": round(float(probabilities[place]), 6)}
    found = scored(labels, probabilities, np.argsort(-probabilities, kind="stable")[:top_k])
    return {**found[0], "scores": found}


def scored(labels: Sequence[str], scores: np.ndarray, order: np.ndarray) -> list[LabelScore]:
    """The labels at the places `order`, int64 (n,), in that order, each with its score of float32 (labels,) to six decimals."""
    return [{"label": labels[place], "score": round(float(scores[place]), 6)} for place in order]


def line(answer: Classification) -> str:
    """The label and its score, then the next most probable ones where there are `scores`."""
    rest = "".join(f"  {item['label']} {item['score']:.3f}" for item in answer.get("scores", [])[1:])
    return f"{answer['label']}  {answer['score']:.3f}{rest}"


def texts(pairs: bool | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of texts that an input (must have, may have)."""
    if pairs is None:
        return ("text",), ("text_pair",)
    return (("text", "text_pair") if pairs else ("text",)), ()


PROCESSOR = Processor(
    prepare,
    answer,
    line,
    outputs=(
        Output("label", "BYTES", 2, lambda answer: [item["label"] for item in answer.get("scores", [answer])]),
        Output("score", "FP32", 2, lambda answer: [item["score"] for item in answer.get("scores", [answer])]),
        TRUNCATED,
    ),
    texts=texts,
    lists="best",
)
