"""question-answering: the span of a context that answers a question; exact match and F1 of words, as SQuAD counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np

from edgekit.data.answers import scored_words, span_of
from edgekit.runtime.processors import Asked
from edgekit.runtime.processors.question_answering import LONGEST_ANSWER, STRIDE, answer
from edgekit.tasks.losses import draw_span, hard_span, soft_span
from edgekit.tasks.reference import Ask, Reference, without_space
from edgekit.tasks.task import EncoderTask

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import QuestionAnsweringModelOutput

    from edgekit.runtime.jsontypes import JsonObject, JsonValue
    from edgekit.runtime.tokenise import Window

__all__ = ["TASK", "exact_match", "word_f1"]


class Answers(TypedDict):
    """A row's answers, as SQuAD writes them: their texts, and where each starts in the context, in characters."""

    text: list[str]
    answer_start: list[int]


def labels(row: JsonObject, windows: Sequence[Window], index: dict[str, int]) -> list[np.ndarray]:
    """(start, end) token of the first answer in each window that holds all of it; -1 elsewhere, so that no loss counts there."""
    answers = cast("Answers | None", row["answers"])
    if answers is None or not answers["text"] or not answers["text"][0].strip():
        return [np.full(2, -1)] * len(windows)
    span = span_of(answers["text"][0], answers["answer_start"][0], str(row["context"]))
    if span is None:
        return [np.full(2, -1)] * len(windows)
    low, high = span  # the space around an answer may be of no token
    spans = []
    for window in windows:
        inside = window.words >= 0
        starts = np.flatnonzero(inside & (window.offsets[:, 0] <= low) & (low < window.offsets[:, 1]))
        ends = np.flatnonzero(inside & (window.offsets[:, 0] < high) & (high <= window.offsets[:, 1]))
        spans.append(np.array([starts[0], ends[-1]]) if len(starts) and len(ends) else np.full(2, -1))
    return spans


def tensor(model: PreTrainedModel, output: QuestionAnsweringModelOutput, mask: torch.Tensor) -> torch.Tensor:
    """Start and end logits side by side, (b, s, 2)."""
    import torch

    return torch.stack((output.start_logits, output.end_logits), dim=-1)


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> list[float]:
    """Word F1 and exact match of the predicted span, each against whichever true answer it fits best."""
    predicted = answer(outputs, inputs[0], Asked(names))["text"]
    true = cast("Answers", row["answers"])["text"] or [""]
    return [max(word_f1(predicted, text) for text in true), max(exact_match(predicted, text) for text in true)]


def word_f1(predicted: str, true: str) -> float:
    """F1 of the words of two answers, without articles, punctuation and case (Rajpurkar et al. 2016, section 6.1)."""
    predicted_words, true_words = scored_words(predicted), scored_words(true)
    if not predicted_words or not true_words:
        return float(predicted_words == true_words)
    shared = sum((Counter(predicted_words) & Counter(true_words)).values())
    return 2 * shared / (len(predicted_words) + len(true_words))


def exact_match(predicted: str, true: str) -> float:
    """1.0 where both answers have the same words."""
    return float(scored_words(predicted) == scored_words(true))


def mean_f1(evidence: np.ndarray) -> float:
    """Mean of the first number of (rows, 2)."""
    return float(evidence[:, 0].mean())


@dataclass(frozen=True, repr=False)
class Spans:
    """Candidates of a context."""

    context: str
    logits: dict[tuple[int, int], float]
    """(first character, character after the last) -> sum of the logits of its start and its end."""

    def __repr__(self) -> str:
        best = max(self.logits, key=lambda span: self.logits[span], default=(0, 0))
        return f"{self.context[slice(*best)]!r} at {best[0]} to {best[1]}"


def all_spans(folder: Path, longest: int) -> Ask:
    """transformers' tokenizer and model, without its pipeline, which version 5 removed: an input -> its `Spans`.

    Every pair of a start and an end in the context that is in order and short enough, whose logits are added (Devlin et al. 2019, BERT,
    section 4.2); of windows that hold the same span, the highest counts.
    """
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    model = AutoModelForQuestionAnswering.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32
    ).eval()
    special = tokenizer.num_special_tokens_to_add(pair=True)

    def ask(item: JsonValue) -> Spans:
        question, context = (str(cast("JsonObject", item)[name]) for name in ("question", "context"))
        room = longest - special - len(tokenizer(question, add_special_tokens=False)["input_ids"])
        windows = tokenizer(
            question, context, truncation="only_second", max_length=longest, stride=min(STRIDE, longest // 4, room // 2),
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        by_length: dict[int, list[int]] = {}
        for number, ids in enumerate(windows["input_ids"]):
            by_length.setdefault(len(ids), []).append(number)
        names = [name for name in tokenizer.model_input_names if name in windows]
        spans: dict[tuple[int, int], float] = {}
        for numbers in by_length.values():  # all but the last window are full: they are one run, and none is padded
            with torch.inference_mode():
                output = model(**{name: torch.tensor([windows[name][number] for number in numbers]) for name in names})
            logits = (tensor.double().numpy() for tensor in (output.start_logits, output.end_logits))
            for number, starts, ends in zip(numbers, *logits, strict=True):
                inside = [position for position, part in enumerate(windows.sequence_ids(number)) if part == 1]
                offsets = windows["offset_mapping"][number]
                for first in inside:
                    for last in inside:
                        if first <= last < first + LONGEST_ANSWER:
                            span = without_space(context, offsets[first][0], offsets[last][1])
                            if span[0] < span[1]:
                                spans[span] = max(spans.get(span, -np.inf), float(starts[first] + ends[last]))
        return Spans(context, spans)

    return ask


def span_difference(ours: Mapping[str, Any], theirs: Spans) -> float:
    """How much lower the library's logits of the bundle's span are than those of its own best; infinite for text that is not that span's."""
    span = ours["start"], ours["end"]
    if not theirs.logits:
        return 0.0 if not ours["text"] else float("inf")
    if span not in theirs.logits or ours["text"] != theirs.context[slice(*span)]:
        return float("inf")
    return max(theirs.logits.values()) - theirs.logits[span]


def asked(texts: Sequence[str], pairs: bool) -> list[JsonValue]:
    """Each text as a question about all texts together, beginning with the one after it."""
    return [
        {"question": text[:40].strip() or "?", "context": " ".join((*texts[number + 1 :], *texts[:number]))[:600]}
        for number, text in enumerate(texts)
    ]


TASK = EncoderTask(
    name="question-answering",
    title="the words of a context that answer a question",
    columns=("question", "context", "answers"),
    metric="F1",
    output="span_logits",
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
    version=3,
    named=False,
    pairs=True,
    reference=Reference(
        "transformers' tokenizer and model (it has no question-answering pipeline)", all_spans, span_difference, inputs=asked
    ),
)
