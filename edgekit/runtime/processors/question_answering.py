"""question-answering: start and end logits of each window of the context to the best spans.

Each window offers its most likely starts and ends; pairs that are in order, short enough and within the context compete
by the sum of their logits, over all windows (Devlin et al. 2019, BERT, section 4.2). Scores are a softmax over the spans
that competed: they compare spans of one context, not questions with one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.processors import TRUNCATED, Output, Processor, finite, softmax
from edgekit.runtime.tokenise import Tokeniser, Window

__all__ = ["PROCESSOR", "LONGEST_ANSWER", "STRIDE", "answer", "line", "prepare"]

STRIDE = 64
"""Tokens that neighbouring windows share, at most a quarter of the longest input."""
BEST = 20
"""Starts and ends of each window that compete."""
LONGEST_ANSWER = 30
"""Tokens."""


def prepare(tokenise: Tokeniser, item: Any) -> list[Window]:
    """Each window of {"question": ..., "context": ...}.

    Raises:
        BadInput: not such an object, or texts that cannot be used.
    """
    if not isinstance(item, dict) or not {"question", "context"} <= set(item):
        raise BadInput("question-answering reads an object", fix='give {"question": "...", "context": "..."}')
    return tokenise.pair(item["question"], item["context"], min(STRIDE, tokenise.max_length // 4))


def answer(outputs: list[np.ndarray], windows: list[Window], labels: Sequence[str], top_k: int = 1) -> dict[str, Any]:
    """The best span of logits float32 (1, length, 2) of each window: its text, [start, end) in the context, and score.

    `answers` holds the `top_k` best if above 1. Empty text with score 0 where no span competes.

    Raises:
        CheckFailed: logits that are not finite or of another shape.
    """
    best: dict[tuple[int, int], float] = {}
    for logits, window in zip(outputs, windows, strict=True):
        if logits.shape != (1, len(window.ids), 2):
            raise CheckFailed(f"the model gave {logits.shape} for the starts and ends of {len(window.ids)} tokens")
        inside = np.flatnonzero(window.words >= 0)
        starts, ends = (finite(logits[0, inside, side], "logits") for side in (0, 1))
        for start in np.argsort(-starts, kind="stable")[:BEST]:
            for end in np.argsort(-ends, kind="stable")[:BEST]:
                if start <= end < start + LONGEST_ANSWER:
                    span = int(window.offsets[inside[start], 0]), int(window.offsets[inside[end], 1])
                    best[span] = max(best.get(span, -np.inf), float(starts[start] + ends[end]))
    order = sorted(best, key=lambda span: (-best[span], span))[:BEST]
    probabilities = softmax(np.array([best[span] for span in order])) if order else np.zeros(0)
    text = windows[0].text
    found = [
        {"text": text[low:high], "start": low, "end": high, "score": round(float(probability), 6)}
        for (low, high), probability in zip(order, probabilities, strict=True)
    ]
    first = found[0] if found else {"text": "", "start": 0, "end": 0, "score": 0.0}
    return {**first, "answers": found[:top_k]} if top_k > 1 else first


def line(answer: dict[str, Any]) -> str:
    """The answer and its score."""
    return f"{answer['text']}  {answer['score']:.3f}"


PROCESSOR = Processor(
    prepare,
    answer,
    line,
    outputs=(
        Output("answer", "BYTES", 1, lambda answer: answer["text"]),
        Output("start", "INT64", 1, lambda answer: answer["start"]),
        Output("end", "INT64", 1, lambda answer: answer["end"]),
        Output("score", "FP32", 1, lambda answer: answer["score"]),
        TRUNCATED,
    ),
    texts=lambda pairs: (("question", "context"), ()),
)
