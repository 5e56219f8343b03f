"""Answers of question-answering rows in their contexts, as SQuAD has them: a text, and the character where it begins.

An answer is at a place where the context has its words, whatever white space is between and before them (transformers compares
whitespace-separated words), or words that SQuAD's scorer takes for the same: without case, punctuation and articles (Rajpurkar et al. 2016).
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

from edgekit.runtime.jsontypes import JsonValue

__all__ = ["begin_of", "misplaced", "scored_words", "span_of"]

SPACE = re.compile(r"\s*")
SHOWN = 40
"""Characters of a text in a message."""


def scored_words(text: str) -> list[str]:
    """The words of an answer that SQuAD's scorer compares."""
    plain = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def span_of(answer: str, start: int, context: str) -> tuple[int, int] | None:
    """Characters [start, end) of `context` that the answer at `start` is, without white space at its ends; None where it is not there."""
    if start > len(context):  # however far: the library of patterns takes no integer beyond 64 bits
        return None
    if (found := _words_at(answer.split(), start, context)) is not None:
        return found
    low, high = start + len(answer) - len(answer.lstrip()), start + len(answer.rstrip())
    there = context[low:high]
    return (low, high) if there.strip() and scored_words(there) == scored_words(answer) else None


def _words_at(words: list[str], start: int, context: str) -> tuple[int, int] | None:
    """Characters [start, end) of `words`, with white space between them, in `context` after white space from `start` on."""
    begin = at = _after_space(context, start)
    for number, word in enumerate(words):
        following = _after_space(context, at) if number else at
        if (number and following == at) or not context.startswith(word, following):
            return None
        at = following + len(word)
    return (begin, at) if words else None


def _after_space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return at if found is None else found.end()


def misplaced(answers: Mapping[str, JsonValue], context: str) -> str | None:
    """What is wrong with the first answer that is not where `answer_start` says; None where all are. Empty answers are none."""
    texts, starts = answers["text"], answers["answer_start"]
    assert isinstance(texts, list) and isinstance(starts, list), "checked before"
    for answer, start in zip(map(str, texts), starts, strict=True):
        assert isinstance(start, int), "checked before"
        if not answer.strip() or span_of(answer, start, context) is not None:
            continue
        there = context[start : start + len(answer)]
        begin = begin_of(answer, context)
        where = "it is nowhere else" if begin is None else f"it begins at {begin}"
        has = f"where the context has {there[:SHOWN]!r}" if there else f"which the context of {len(context)} has not"
        return f"{answer[:SHOWN]!r} is not at character {start}, {has}; {where}"
    return None


def begin_of(answer: str, context: str) -> int | None:
    """The first character of `context` at which the words of `answer` stand, whatever white space is between them; None where nowhere.

    It takes linear time: a pattern of words would try every word that the answer begins with as far as it goes.
    """
    at = " ".join(context.split()).find(" ".join(answer.split()))
    if at < 0:
        return None
    squeezed = 0
    for word in re.finditer(r"\S+", context):
        if at < squeezed + len(word[0]):
            return word.start() + at - squeezed
        squeezed += len(word[0]) + 1
    return None
