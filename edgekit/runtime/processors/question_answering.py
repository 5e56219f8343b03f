"""question-answering: start and end logits of each window of the context to the best spans.

Every pair of a start and an end in the context that is in order and short enough is ranked by the sum of its logits, over all windows
(Devlin et al. 2019, BERT, section 4.2); the best are the candidates. Scores are a softmax over the candidates: they compare spans of one
context, not questions with one another. White space is never at an end of an answer, as a tokenizer may count
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
"""Candidates that are scored."""
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
        for (low, high), total in _best(window.text, window.offsets[inside], starts, ends).items():
            totals[low, high] = max(totals.get((low, high), -np.inf), total)
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


def _best(text: str, offsets: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> dict[tuple[int, int], float]:
    """Spans of one window with the largest sums of their logits, `BEST` and more where there are as many; `offsets` int (n, 2).

    Two pairs of tokens may be one span of characters, or white space alone, so more pairs are looked at until there are enough spans.
    """
    if not len(starts):
        return {}
    behind = np.concatenate([ends, np.full(LONGEST_ANSWER - 1, -np.inf, dtype=ends.dtype)])
    sums = (starts[:, None] + np.lib.stride_tricks.sliding_window_view(behind, LONGEST_ANSWER)).ravel()
    pairs = int((sums > -np.inf).sum())
    found: dict[tuple[int, int], float] = {}
    count = 0
    while len(found) < BEST and count < pairs:
        count = min(4 * max(count, BEST), pairs)
        least = np.partition(sums, -count)[-count]
        for pair in np.flatnonzero(sums >= least).tolist():
            start, further = divmod(pair, LONGEST_ANSWER)
            span = trimmed(text, int(offsets[start, 0]), int(offsets[start + further, 1]))
            if span[0] < span[1]:
                found[span] = max(found.get(span, -np.inf), float(sums[pair]))
    return found


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
