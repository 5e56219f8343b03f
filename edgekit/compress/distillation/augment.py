"""More text for a teacher to label: rows with words dropped, exchanged, or spliced from two rows.

A student learns its teacher's function only on the texts that it sees. Such rows have no true label and need none: they are learned
from soft labels alone. In the spirit of Jiao et al. 2020 (TinyBERT, section 3.3), with word statistics instead of a
masked language model (see `edgekit.compress.distillation.fill`), so that it takes no time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.runtime.jsontypes import JsonValue
from edgekit.tasks.encode import texts_of

__all__ = ["augmented", "augmented_rows", "new_rows"]

CHANGED = 0.2
"""Probability that one word is dropped or exchanged."""


def augmented_rows(rows: list[dict[str, JsonValue]], copies: int, seed: int) -> list[dict[str, JsonValue]]:
    """`copies` new unlabelled rows for each of `rows`, with words dropped, exchanged or spliced; as `new_rows` makes them."""
    return new_rows(rows, lambda texts: augmented(texts, copies, seed)) if copies else []


def new_rows(rows: list[dict[str, JsonValue]], write: Callable[[list[str]], list[str]]) -> list[dict[str, JsonValue]]:
    """Unlabelled rows of the texts that `write` makes of those of `rows`: one for each in order, or several such copies in a row.

    Of a pair of texts only the first is changed. All columns but the changed one and a question's context, a `text_pair` or passages are
    None: the teacher's output is the label. Sentences that are embedded one by one become texts of their own.
    """
    if "sentence1" in rows[0]:
        texts = [str(row[column]) for row in rows for column in ("sentence1", "sentence2")]
        return [{"text": text} for text in write(texts)]
    column = next(name for name in ("text", "tokens", "question", "query") if name in rows[0])
    texts = [texts_of(row[column])[0] for row in rows]
    made: list[dict[str, JsonValue]] = []
    for number, text in enumerate(write(texts)):
        new: JsonValue = list(text.split()) if column == "tokens" else text
        kept = {name: value for name, value in rows[number % len(rows)].items() if name in {"context", "text_pair", "passages"}}
        made.append({**dict.fromkeys(rows[0]), **kept, column: new})
    return made


def augmented(texts: list[str], copies: int, seed: int) -> list[str]:
    """`copies` new texts for each of `texts`, the same for the same seed."""
    generator = np.random.default_rng(seed)
    split = [text.split() for text in texts]
    pool = np.array([word for words in split for word in words], dtype=object)
    made = []
    for _ in range(copies):
        for words in split:
            kind = generator.integers(3)
            if kind == 0:
                kept = [word for word, draw in zip(words, generator.random(len(words)), strict=True) if draw >= CHANGED]
                new = kept or words
            elif kind == 1:
                swapped = generator.random(len(words)) < CHANGED
                others = pool[generator.integers(len(pool), size=len(words))]
                new = [str(other) if swap else word for word, other, swap in zip(words, others, swapped, strict=True)]
            else:
                other_words = split[generator.integers(len(split))]
                new = words[: generator.integers(1, len(words) + 1)] + other_words[generator.integers(0, len(other_words)) :]
            made.append(" ".join(new))
    return made
