"""token-classification: logits of each token to entities with their position in the text.

A word's tag is that of its first token, as it was trained and as it is scored. Tags follow the BIO scheme; an I- that
follows no B- or I- of its own kind begins an entity (as in CoNLL, and by default in seqeval).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np

from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.processors import TRUNCATED, Asked, Output, Processor, finite, softmax
from edgekit.runtime.tokenise import Tokeniser, Window

__all__ = ["PROCESSOR", "Entities", "Entity", "answer", "first_tokens", "line", "prepare", "tag_fault"]


class Entity(TypedDict):
    """One entity; `start` and `end` count characters of a text, or ready-made words."""

    text: NotRequired[str]
    """Absent for ready-made words."""
    label: str
    start: int
    end: int
    """After its last character or word."""
    score: float
    """Mean probability of its words' tags."""


class Entities(TypedDict):
    """The answer."""

    entities: list[Entity]
    tags: NotRequired[list[str]]
    """Of each word, for ready-made words alone."""


def prepare(tokenise: Tokeniser, item: object) -> list[Window]:
    """One window for a text, or for a list of ready-made words."""
    return [tokenise.words(item) if isinstance(item, list) else tokenise.text(item)]


def first_tokens(words: np.ndarray) -> np.ndarray:
    """Positions of the first token of each word, int64 (words,); `words` holds the word index of each token (-1: none)."""
    before = np.concatenate([[-1], words[:-1]])
    return np.flatnonzero((words >= 0) & (words != before))


def answer(outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> Entities:
    """The entities in logits float32 (1, length, labels).

    Raises:
        CheckFailed: logits that are not finite or of another shape.
    """
    ((logits,), (window,)), labels = (outputs, windows), asked.labels
    if logits.shape != (1, len(window.ids), len(labels)):
        raise CheckFailed(f"the model gave {logits.shape} for {len(window.ids)} tokens and {len(labels)} labels")
    probabilities = softmax(finite(logits[0], "logits"))
    first = first_tokens(window.words)
    tags = [labels[number] for number in probabilities[first].argmax(axis=-1)]
    scores = probabilities[first].max(axis=-1)
    entities: list[Entity] = []
    for kind, start, end in spans(tags):
        score = round(float(scores[start:end].mean()), 6)
        if not window.text:
            entities.append({"label": kind, "start": start, "end": end, "score": score})
            continue
        last = np.flatnonzero(window.words == window.words[first[end - 1]])[-1]
        low, high = int(window.offsets[first[start], 0]), int(window.offsets[last, 1])
        entities.append({"text": window.text[low:high], "label": kind, "start": low, "end": high, "score": score})
    return {"entities": entities} if window.text else {"entities": entities, "tags": tags}


def tag_fault(labels: Sequence[str]) -> str | None:
    """Why `spans` would lose entities of these tags; None where it reads them all. Tags are "O", or "B-" or "I-" and a kind."""
    odd = sorted({label for label in labels if label != "O" and not (label[:2] in ("B-", "I-") and len(label) > 2)})
    if not odd:
        return None
    return (
        f"tags that are no entity tags of the BIO scheme: {', '.join(map(repr, odd[:5]))}{' …' * (len(odd) > 5)}; entities of other schemes "
        '(BIOES, BILOU, lower case, parts of speech) would be lost: name them "O", "B-kind" and "I-kind"'
    )


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


def line(answer: Entities) -> str:
    """The entities, one after another."""
    parts = [f"{entity.get('text', (entity['start'], entity['end']))} [{entity['label']}]" for entity in answer["entities"]]
    return "  ".join(parts) or "(no entities)"


PROCESSOR = Processor(
    prepare,
    answer,
    line,
    outputs=(Output("entities", "BYTES", 1, lambda answer: json.dumps(answer["entities"], ensure_ascii=False)), TRUNCATED),
)
