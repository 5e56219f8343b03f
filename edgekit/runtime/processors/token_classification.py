"""token-classification: logits of each token to entities with their position in the text, or to the tag of each word.

A word's tag is that of its first token, as it was trained and as it is scored (transformers: aggregation_strategy="first"). What the
tags mean is read off the labels (`edgekit.runtime.tags`). White space is never at an end of an entity.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.processors import TRUNCATED, Asked, Output, Processor, finite, softmax, trimmed
from edgekit.runtime.tags import Scheme, read_scheme, spans
from edgekit.runtime.tokenise import Tokeniser, Window

__all__ = ["PROCESSOR", "Entity", "Tagged", "answer", "first_tokens", "line", "prepare", "word_tags"]


class Entity(TypedDict):
    """One entity, or one word; `start` and `end` count characters of a text, or ready-made words."""

    text: NotRequired[str]
    """Absent for ready-made words."""
    label: str
    start: int
    end: int
    """After its last character or word."""
    score: float
    """Mean probability of its words' tags."""


class Tagged(TypedDict):
    """The answer."""

    entities: NotRequired[list[Entity]]
    """Absent where tags are plain."""
    words: NotRequired[list[Entity]]
    """Of plain tags, such as parts of speech: every word with its tag."""
    tags: NotRequired[list[str]]
    """Of each word, for ready-made words alone; a word that has no token (dropped by the tokenizer, or cut off) is outside of entities."""


def prepare(tokenise: Tokeniser, item: object) -> list[Window]:
    """One window for a text, or for ready-made words: a list of them, or {"words": [...]}.

    Raises:
        BadInput: a text or words that cannot be used, or another object.
    """
    words = item
    if isinstance(item, dict):
        fix = 'give a text, or {"words": ["we", "went"]}'
        if set(item) != {"words"}:
            raise BadInput(f"neither a text nor words: {', '.join(map(repr, item))}", fix=fix)
        words = item["words"]
        if not isinstance(words, list):
            raise BadInput(f"words must be a list of texts, not {type(words).__name__}", where="words", fix=fix)
    return [tokenise.words(words) if isinstance(words, list) else tokenise.whole_words(words)]


def first_tokens(words: np.ndarray) -> np.ndarray:
    """Positions of the first token of each word, int64 (words,); `words` holds the word index of each token (-1: none)."""
    before = np.concatenate([[-1], words[:-1]])
    return np.flatnonzero((words >= 0) & (words != before))


def word_tags(logits: np.ndarray, window: Window, labels: Sequence[str], count: int) -> list[str]:
    """The tag of each of `count` ready-made words, by logits float32 (length, labels)."""
    tags = [read_scheme(labels).outside] * count
    first = first_tokens(window.words)
    for word, number in zip(window.words[first], logits[first].argmax(axis=-1), strict=True):
        tags[word] = labels[number]
    return tags


def answer(outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> Tagged:
    """The entities, or the tagged words, in logits float32 (1, length, labels).

    Raises:
        CheckFailed: logits that are not finite or of another shape.
        BadInput: labels that are of no scheme, which only bundles of earlier releases have.
    """
    ((logits,), (window,)), labels = (outputs, windows), asked.labels
    if logits.shape != (1, len(window.ids), len(labels)):
        raise CheckFailed(f"the model gave {logits.shape} for {len(window.ids)} tokens and {len(labels)} labels")
    probabilities, scheme = softmax(finite(logits[0], "logits")), read_scheme(labels)
    first = first_tokens(window.words)
    if window.ready:
        tags, scores = word_tags(logits[0], window, labels, window.ready), np.zeros(window.ready)
        scores[window.words[first]] = probabilities[first].max(axis=-1)
        places = np.stack([np.arange(window.ready), np.arange(1, window.ready + 1)], axis=1)
    else:
        tags, scores = [labels[number] for number in probabilities[first].argmax(axis=-1)], probabilities[first].max(axis=-1)
        last = len(window.words) - 1 - first_tokens(window.words[::-1])[::-1]
        places = np.stack([window.offsets[first, 0], window.offsets[last, 1]], axis=1)
    found = _found(tags, scores, places, window.text, scheme)
    answer: Tagged = {"words": found} if scheme.plain else {"entities": found}
    return {**answer, "tags": tags} if window.ready else answer


def _found(tags: list[str], scores: np.ndarray, places: np.ndarray, text: str, scheme: Scheme) -> list[Entity]:
    """The entities of tagged words, or the words; `places`: where each begins and ends in `text`, or as a ready-made word."""
    found: list[Entity] = []
    runs = [(tag, word, word + 1) for word, tag in enumerate(tags)] if scheme.plain else spans(tags, scheme)
    for label, start, end in runs:
        score = round(float(scores[start:end].mean()), 6)
        low, high = int(places[start, 0]), int(places[end - 1, 1])
        if not text:
            found.append({"label": label, "start": low, "end": high, "score": score})
            continue
        low, high = trimmed(text, low, high)
        if low < high:
            found.append({"text": text[low:high], "label": label, "start": low, "end": high, "score": score})
    return found


def line(answer: Tagged) -> str:
    """The entities, or the words, one after another; of ready-made words with plain tags the tags alone."""
    if "words" in answer and "tags" in answer:
        return " ".join(tag or "-" for tag in answer["tags"])
    found = answer.get("entities", answer.get("words", []))
    parts = [f"{entity.get('text', (entity['start'], entity['end']))} [{entity['label']}]" for entity in found]
    return "  ".join(parts) or "(no entities)"


def _list(name: str) -> Output[Tagged]:
    """A list of the answer, as JSON; empty where the answer has none."""
    return Output(name, "BYTES", 1, lambda answer: json.dumps(answer.get(name, []), ensure_ascii=False))


PROCESSOR = Processor(prepare, answer, line, outputs=(_list("entities"), _list("words"), _list("tags"), TRUNCATED), words=True)
