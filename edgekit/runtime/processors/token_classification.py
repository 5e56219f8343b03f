"""token-classification: logits of each token to entities with their place in the text.

A word's tag is that of its first token, as it was trained and as it is scored. Tags follow the BIO scheme; an I- that
follows no B- or I- of its own kind begins an entity of its own (CoNLL's reading, which seqeval's default shares).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.processors import TRUNCATED, Output, Processor, finite, softmax
from edgekit.runtime.tokenise import Tokeniser, Window

__all__ = ["PROCESSOR", "answer", "first_tokens", "line", "prepare"]


def prepare(tokenise: Tokeniser, item: Any) -> list[Window]:
    """One window for a text, or for a list of ready-made words."""
    return [tokenise.words(item) if isinstance(item, list) else tokenise.text(item)]


def first_tokens(words: np.ndarray) -> np.ndarray:
    """Positions of the first token of each word, int64 (words,), for the word number of each token (-1: none)."""
    before = np.concatenate([[-1], words[:-1]])
    return np.flatnonzero((words >= 0) & (words != before))


def answer(outputs: list[np.ndarray], windows: list[Window], labels: Sequence[str], top_k: int = 1) -> dict[str, Any]:
    """Entities of logits float32 (1, length, labels): each its text, label, [start, end) and mean score.

    For ready-made words, `start` and `end` count words, and `tags` holds the tag of each word. `top_k` has no meaning here.

    Raises:
        CheckFailed: logits that are not finite or of another shape.
    """
    ((logits,), (window,)) = outputs, windows
    if logits.shape != (1, len(window.ids), len(labels)):
        raise CheckFailed(f"the model gave {logits.shape} for {len(window.ids)} tokens and {len(labels)} labels")
    probabilities = softmax(finite(logits[0], "logits"))
    first = first_tokens(window.words)
    tags = [labels[number] for number in probabilities[first].argmax(axis=-1)]
    scores = probabilities[first].max(axis=-1)
    entities = []
    for kind, start, end in spans(tags):
        score = round(float(scores[start:end].mean()), 6)
        if not window.text:
            entities.append({"label": kind, "start": start, "end": end, "score": score})
            continue
        last = np.flatnonzero(window.words == window.words[first[end - 1]])[-1]
        low, high = int(window.offsets[first[start], 0]), int(window.offsets[last, 1])
        entities.append({"text": window.text[low:high], "label": kind, "start": low, "end": high, "score": score})
    return {"entities": entities} if window.text else {"entities": entities, "tags": tags}


def spans(tags: list[str]) -> list[tuple[str, int, int]]:
    """(kind, first word, word after the last) of each entity in BIO tags."""
    found: list[tuple[str, int, int]] = []
    kind, start = "", 0
    for position, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if kind and (prefix != "I" or name != kind):
            found.append((kind, start, position))
            kind = ""
        if prefix in {"B", "I"} and not kind:
            kind, start = name, position
    return found


def line(answer: dict[str, Any]) -> str:
    """The entities side by side."""
    parts = [f"{entity.get('text', (entity['start'], entity['end']))} [{entity['label']}]" for entity in answer["entities"]]
    return "  ".join(parts) or "(no entities)"


PROCESSOR = Processor(
    prepare,
    answer,
    line,
    outputs=(Output("entities", "BYTES", 1, lambda answer: json.dumps(answer["entities"], ensure_ascii=False)), TRUNCATED),
)
