"""More text for a teacher to label: rows with words dropped, exchanged, or spliced from two rows, none of them a training row.

A student learns its teacher's function only on the texts that it sees. Such rows have no true label and need none: they are learned
from soft labels alone. In the spirit of Jiao et al. 2020 (TinyBERT, section 3.3), with word statistics instead of a
masked language model (see `edgekit.compress.distillation.fill`), so that it takes no time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.compress.distillation.words import Piece, joined, pieces
from edgekit.data.disjoint import fold
from edgekit.errors import BadInput
from edgekit.runtime.jsontypes import JsonValue
from edgekit.tasks.encode import texts_of

__all__ = ["augmented", "augmented_rows", "new_rows"]

CHANGED = 0.2
"""Probability that one word, or one character of a script without spaces, is dropped or exchanged."""
ATTEMPTS = 20
"""How often a text is drawn again that is a training text."""


def augmented_rows(rows: list[dict[str, JsonValue]], copies: int, seed: int) -> list[dict[str, JsonValue]]:
    """`copies` new unlabelled rows for each of `rows`, with words dropped, exchanged or spliced; as `new_rows` makes them."""
    return new_rows(rows, lambda texts: augmented(texts, copies, seed)) if copies else []


KEPT = {"context", "text_pair", "passages", "labels", "template"}
"""Columns of a new row that are those of the row it is made of: what its changed text is read with."""


def new_rows(rows: list[dict[str, JsonValue]], write: Callable[[list[str]], list[str]]) -> list[dict[str, JsonValue]]:
    """Unlabelled rows of the texts that `write` makes of those of `rows`: one for each in order, or several such copies in a row.

    A text that is one of those of `rows` is left out. Of a pair of texts only the first is changed. All columns but the changed one
    and a question's context, a `text_pair` or passages are None: the teacher's output is the label. Sentences that are embedded one by one
    become texts of their own.

    Raises:
        BadInput: no text is new.
    """
    if "sentence1" in rows[0]:
        texts = [str(row[column]) for row in rows for column in ("sentence1", "sentence2")]
        return [{"text": text} for _, text in _new(texts, write(texts))]
    column = next(name for name in ("text", "tokens", "question", "query") if name in rows[0])
    texts = [texts_of(row[column])[0] for row in rows]
    made: list[dict[str, JsonValue]] = []
    for number, text in _new(texts, write(texts)):
        new: JsonValue = list(text.split()) if column == "tokens" else text
        kept = {name: value for name, value in rows[number % len(rows)].items() if name in KEPT}
        made.append({**dict.fromkeys(rows[0]), **kept, column: new})
    return made


def augmented(texts: list[str], copies: int, seed: int) -> list[str]:
    """`copies` new texts for each of `texts`, the same for the same seed; one that cannot be changed stays as it is."""
    generator, again = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    split = [pieces(text) for text in texts]
    pool = [piece for found in split for piece in found]
    known = {fold(text) for text in texts}
    made = []
    for _ in range(copies):
        for found in split:
            text = joined(_changed(found, split, pool, generator))
            for _ in range(ATTEMPTS if fold(text) in known else 0):
                text = joined(_changed(found, split, pool, again))
                if fold(text) not in known:
                    break
            made.append(text)
    return made


def _changed(found: list[Piece], split: list[list[Piece]], pool: list[Piece], generator: np.random.Generator) -> list[Piece]:
    """`found` with pieces dropped, exchanged for others of `pool`, or its end replaced by that of another of `split`."""
    kind = generator.integers(3)
    if kind == 0:
        return [piece for piece, draw in zip(found, generator.random(len(found)), strict=True) if draw >= CHANGED] or found
    if kind == 1:
        swapped = generator.random(len(found)) < CHANGED
        others = [pool[number] for number in generator.integers(len(pool), size=len(found))]
        return [
            Piece(other.text, piece.apart) if swap else piece for piece, other, swap in zip(found, others, swapped, strict=True)
        ]
    other_found = split[generator.integers(len(split))]
    return found[: generator.integers(1, len(found) + 1)] + other_found[generator.integers(0, len(other_found)) :]


def _new(texts: list[str], written: list[str]) -> list[tuple[int, str]]:
    """(its number, text) of those of `written` that are none of `texts`.

    Raises:
        BadInput: none is.
    """
    known = {fold(text) for text in texts}
    new = [(number, text) for number, text in enumerate(written) if fold(text) not in known]
    if not new:
        raise BadInput(
            "no text can be made of the training rows that is not one of them", where="compress, distill",
            fix="leave augment and fill out, or name more text with `unlabelled`",
        )  # fmt: skip
    return new
