"""More text for a teacher to label: rows with words dropped, exchanged, or spliced from two rows.

A student sees only as much of its teacher as the texts show. Such rows have no true label and need none: they are learned
from soft labels alone. In the spirit of Jiao et al. 2020 (TinyBERT, section 3.3), with word statistics instead of a
masked language model, so that it costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["augmented", "augmented_rows"]

CHANGED = 0.2
"""Probability that one word is dropped or exchanged."""


def augmented_rows(rows: list[dict[str, Any]], copies: int, seed: int) -> list[dict[str, Any]]:
    """`copies` new unlabelled rows for each of `rows`; of a question and its context, the question alone is changed.

    All columns but the one that is changed and those of the context are None: the teacher says what to answer.
    """
    if not copies:
        return []
    column = next(name for name in ("text", "tokens", "question", "sentence1") if name in rows[0])
    texts = [row[column] if isinstance(row[column], str) else " ".join(row[column]) for row in rows]
    made = []
    for number, text in enumerate(augmented(texts, copies, seed)):
        new: str | list[str] = text.split() if column == "tokens" else text
        kept = {name: value for name, value in rows[number % len(rows)].items() if name in ("context", "sentence2")}
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
                kept = [word for word, chance in zip(words, generator.random(len(words)), strict=True) if chance >= CHANGED]
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
