"""Which of a file's columns a missing one may be: never an answer for an input, nor the other way."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from edgekit.data.columns import INPUTS, usable_value

__all__ = ["OFTEN", "likely_columns"]

NEAR = 0.5
"""Likeness of two names from which one may be the other, as difflib counts it."""
OFTEN = {
    "text": (
        "sentence",
        "utterance",
        "content",
        "review",
        "comment",
        "document",
        "body",
        "message",
        "tweet",
        "query",
        "input",
        "transcription",
        "transcript",
    ),
    "text_pair": ("text2", "sentence2", "hypothesis", "answer"),
    "tokens": ("words", "word", "token"),
    "sentence1": ("text1", "premise", "anchor"),
    "sentence2": ("text2", "hypothesis", "positive"),
    "query": ("question", "search", "search_query", "q", "text"),
    "question": ("query",),
    "context": ("passage", "paragraph", "document"),
    "passages": (
        "documents",
        "texts",
        "candidates",
        "passage",
        "document",
        "doc",
        "text",
        "candidate",
        "context",
        "paragraph",
        "body",
        "title",
    ),
    "label": ("labels", "target", "class", "category", "intent", "sentiment", "score", "y"),
    "tags": ("ner_tags", "pos_tags", "labels", "target", "tag", "ner_tag"),
    "score": ("label", "similarity", "target"),
    "answers": ("answer",),
    "relevance": (
        "scores",
        "labels",
        "target",
        "score",
        "label",
        "rel",
        "relevant",
        "is_relevant",
        "grade",
        "rating",
        "judgment",
        "judgement",
    ),
}
"""Column -> what data sets often call it, the likeliest first."""
ANSWERS = {
    "label", "labels", "target", "targets", "class", "classes", "category", "categories", "intent", "sentiment", "score", "scores", "tag", "tags",
    "rating", "stars", "relevance", "similarity", "gold", "answer", "answers", "output", "y", "id", "idx", "index",
}  # fmt: skip
"""Words in names of columns that a model does not read."""


def likely_columns(missing: Mapping[str, str], there: Mapping[str, object], kinds: Mapping[str, str]) -> dict[str, str]:
    """Column -> the name in the file that it may have; without those that none is likely for.

    `missing`: column -> the name that it was expected under. `there`: names that nothing else takes, with a value each. `kinds`: column ->
    the kind of its values, where its name does not say it.
    """
    left, likely = dict(there), {}
    for column, expected in missing.items():
        fits = [
            name
            for name, value in left.items()
            if _same_side(column, name) and usable_value(kinds.get(column, column), value)[1] is None
        ]
        by_name = {name.casefold(): name for name in reversed(fits)}
        often = [by_name[name] for name in OFTEN.get(column, ()) if name in by_name]
        near = [name for wanted in (expected, column) for name in difflib.get_close_matches(wanted, fits, n=1, cutoff=NEAR)]
        closest = [name for name in near if difflib.SequenceMatcher(None, name.casefold(), expected).ratio() >= 0.8]
        if found := [*closest, *often, *near]:
            likely[column] = found[0]
            del left[found[0]]
    return likely


def _same_side(column: str, name: str) -> bool:
    """Whether a column of the file may be read by a model where `column` is, and may be an answer where that is one."""
    answer = bool(ANSWERS & set(re.split(r"[^a-z]+", name.casefold())))
    plainly_input = not answer and any(name.casefold() in (key, *OFTEN[key]) for key in INPUTS if key in OFTEN)
    return not answer if column in INPUTS else not plainly_input
