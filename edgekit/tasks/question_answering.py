"""question-answering: the span of a context that answers a question; exact match and F1 of words, as SQuAD counts them."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.runtime.processors.question_answering import answer
from edgekit.tasks import Task
from edgekit.tasks.losses import draw_span, hard_span, soft_span

if TYPE_CHECKING:
    import torch

    from edgekit.runtime.tokenise import Pass

__all__ = ["TASK", "exact_match", "word_f1"]


def labels(row: dict[str, Any], passes: list[Pass], index: dict[str, int]) -> list[np.ndarray]:
    """(start, end) token of the first answer in each window that holds all of it; -1 elsewhere, so that no loss counts there."""
    given = row["answers"]
    if given is None or not given["text"]:
        return [np.full(2, -1)] * len(passes)
    low = given["answer_start"][0]
    high = low + len(given["text"][0])
    found = []
    for window in passes:
        inside = window.words >= 0
        starts = np.flatnonzero(inside & (window.offsets[:, 0] <= low) & (low < window.offsets[:, 1]))
        ends = np.flatnonzero(inside & (window.offsets[:, 0] < high) & (high <= window.offsets[:, 1]))
        found.append(np.array([starts[0], ends[-1]]) if len(starts) and len(ends) else np.full(2, -1))
    return found


def tensor(model: Any, output: Any, mask: torch.Tensor) -> torch.Tensor:
    """Start and end logits side by side, (b, s, 2)."""
    import torch

    return torch.stack((output.start_logits, output.end_logits), dim=-1)


def evidence(outputs: list[np.ndarray], inputs: list[list[Pass]], row: dict[str, Any], names: list[str]) -> list[float]:
    """Word F1 and exact match of the best span, each against the best of the given answers."""
    text = answer(outputs, inputs[0], names)["text"]
    wanted = row["answers"]["text"] or [""]
    return [max(word_f1(text, one) for one in wanted), max(exact_match(text, one) for one in wanted)]


def word_f1(found: str, wanted: str) -> float:
    """F1 of the words of two answers, articles, punctuation and case apart (Rajpurkar et al. 2016, section 6.1)."""
    one, other = _words(found), _words(wanted)
    if not one or not other:
        return float(one == other)
    shared = sum((Counter(one) & Counter(other)).values())
    return 2 * shared / (len(one) + len(other))


def exact_match(found: str, wanted: str) -> float:
    """1.0 where both answers have the same words."""
    return float(_words(found) == _words(wanted))


def _words(text: str) -> list[str]:
    plain = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def mean_f1(found: np.ndarray) -> float:
    """Mean of the first number of (rows, 2)."""
    return float(found[:, 0].mean())


TASK = Task(
    name="question-answering",
    title="the words of a context that answer a question",
    columns=("question", "context", "answers"),
    metric="F1",
    outputs=("span_logits",),
    auto="AutoModelForQuestionAnswering",
    per_token=True,
    items=lambda row: [{"question": row["question"], "context": row["context"]}],
    labels=labels,
    tensor=tensor,
    hard=hard_span,
    soft=soft_span,
    draw=draw_span,
    evidence=evidence,
    reduce=mean_f1,
    named=False,
    pairs=True,
)
