"""text-classification: a text, or a pair of texts, to a label and its probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.processors import TRUNCATED, Output, Processor, finite, softmax
from edgekit.runtime.tokenise import Tokeniser, Window

__all__ = ["PROCESSOR", "answer", "line", "prepare"]


def prepare(tokenise: Tokeniser, item: Any) -> list[Window]:
    """One window for a text, or for {"text": ..., "text_pair": ...}, of which the longer one is cut first.

    Raises:
        BadInput: texts that cannot be used, another object, or a text where the model reads pairs, and the reverse.
    """
    if not isinstance(item, dict):
        if tokenise.pairs:
            raise BadInput("this model compares two texts", fix='give {"text": "...", "text_pair": "..."}')
        return [tokenise.text(item)]
    if tokenise.pairs is False:
        raise BadInput("this model reads one text", fix="give the text alone")
    if set(item) != {"text", "text_pair"}:
        raise BadInput(f"not a pair of texts: {', '.join(map(repr, item))}", fix='give {"text": "...", "text_pair": "..."}')
    return [tokenise.both(item["text"], item["text_pair"])]


def answer(outputs: list[np.ndarray], windows: list[Window], labels: Sequence[str], top_k: int = 1) -> dict[str, Any]:
    """The likeliest label of logits float32 (1, labels), its softmax, and `scores` of the `top_k` if above 1.

    Raises:
        CheckFailed: logits that are not finite, or of another width than there are labels.
    """
    (logits,) = outputs
    if logits.shape != (1, len(labels)):
        raise CheckFailed(f"the model gave an output of shape {logits.shape} for {len(labels)} labels")
    probabilities = softmax(finite(logits[0], "logits"))
    order = np.argsort(-probabilities, kind="stable")[: max(1, top_k)]
    found: dict[str, Any] = {"label": labels[order[0]], "score": round(float(probabilities[order[0]]), 6)}
    if top_k > 1:
        found["scores"] = [{"label": labels[index], "score": round(float(probabilities[index]), 6)} for index in order]
    return found


def line(answer: dict[str, Any]) -> str:
    """The label and its score, then the runners-up where they were asked for."""
    rest = "".join(f"  {item['label']} {item['score']:.3f}" for item in answer.get("scores", [])[1:])
    return f"{answer['label']}  {answer['score']:.3f}{rest}"


def texts(pairs: bool | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A text, or two."""
    if pairs is None:
        return ("text",), ("text_pair",)
    return (("text", "text_pair") if pairs else ("text",)), ()


PROCESSOR = Processor(
    prepare,
    answer,
    line,
    outputs=(
        Output("label", "BYTES", 2, lambda answer: [one["label"] for one in answer.get("scores", [answer])]),
        Output("score", "FP32", 2, lambda answer: [one["score"] for one in answer.get("scores", [answer])]),
        TRUNCATED,
    ),
    texts=texts,
)
