"""question-answering: start and end logits of each window of the context to the best spans.

Candidates are pairs of the most likely starts and ends of each window that are in order, short enough and within the context; the
sum of their logits ranks them, over all windows (Devlin et al. 2019, BERT, section 4.2). Scores are a softmax over the candidates:
they compare spans of one context, not questions with one another. White space is never at an end of an answer, as a tokenizer may count
the space before a word to its token.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.processors import TRUNCATED, Asked, Output, Processor, finite, softmax, trimmed
from edgekit.runtime.tokenise import Tokeniser, Window, checked

__all__ = ["PROCESSOR", "LONGEST_ANSWER", "STRIDE", "Span", "SpanAnswer", "answer", "line", "prepare"]

STRIDE = 64
"""Tokens that neighbouring windows share, at most a quarter of the longest input."""
BEST = 20
"""Starts and ends of each window that make candidates, and candidates that are scored."""
LONGEST_ANSWER = 30
"""Tokens."""


class Span(TypedDict):
    """One candidate."""

    text: str
    start: int
    """Its first character in the context."""
    end: int
    """The character after its last."""
    score: float
    """Its probability among the candidates."""


class SpanAnswer(Span):
    """The answer: the best candidate; with empty text and score 0 where there is none."""

    answers: NotRequired[list[Span]]
    """The `top_k` best, where that is above 1."""


def prepare(tokenise: Tokeniser, item: object) -> list[Window]:
    """Each window of {"question": ..., "context": ...}.

    Raises:
        BadInput: not such an object, or texts that cannot be used.
    """
    if not isinstance(item, dict) or not {"question", "context"} <= set(item):
        raise BadInput("question-answering reads an object", fix='give {"question": "...", "context": "..."}')
    question, context = (checked(item[name], name) for name in ("question", "context"))
    return tokenise.pair(question, context, min(STRIDE, tokenise.max_length // 4))


def answer(outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> SpanAnswer:
    """The best span, by logits float32 (1, length, 2) of each window, and the `asked.top_k` best where that is above 1.

    Raises:
        CheckFailed: logits that are not finite or of another shape.
    """
    totals: dict[tuple[int, int], float] = {}
    for logits, window in zip(outputs, windows, strict=True):
        if logits.shape != (1, len(window.ids), 2):
            raise CheckFailed(f"the model gave {logits.shape} for the starts and ends of {len(window.ids)} tokens")
        inside = np.flatnonzero(window.words >= 0)
        starts, ends = (finite(logits[0, inside, side], "logits") for side in (0, 1))
        for start in np.argsort(-starts, kind="stable")[:BEST]:
            for end in np.argsort(-ends, kind="stable")[:BEST]:
                if start <= end < start + LONGEST_ANSWER:
                    low, high = trimmed(window.text, int(window.offsets[inside[start], 0]), int(window.offsets[inside[end], 1]))
                    if low < high:
                        totals[low, high] = max(totals.get((low, high), -np.inf), float(starts[start] + ends[end]))
    order = sorted(totals, key=lambda span: (-totals[span], span))[:BEST]
    probabilities = softmax(np.array([totals[span] for span in order])) if order else np.zeros(0)
    text = windows[0].text
    spans: list[Span] = [
        {"text": text[low:high], "start": low, "end": high, "score": round(float(probability), 6)}
        for (low, high), probability in zip(order, probabilities, strict=True)
    ]
    first: Span = spans[0] if spans else {"text": "", "start": 0, "end": 0, "score": 0.0}
    best = SpanAnswer(text=first["text"], start=first["start"], end=first["end"], score=first["score"])
    if asked.top_k > 1:
        best["answers"] = spans[: asked.top_k]
    return best


def line(answer: SpanAnswer) -> str:
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
    uncut=lambda item: [("question", {"question": item["question"], "context": "."})],
)
