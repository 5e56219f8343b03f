"""Whether every label of some rows is known."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence

from edgekit.errors import BadInput

__all__ = ["as_lines", "as_table", "check_labels", "few", "joined", "named", "nearest", "separated", "spelled", "words_of"]

MOST_LABELS = 10
MOST_ROWS = 5
LONGEST = 200
"""Characters of a label that are compared with others: likeness takes the square of them."""
BETWEEN = re.compile(r"(?<=[^\W_])(?![\s_-]+-\d)[\s_\u2010-\u2014-]+(?=[^\W_])")
"""What separates the words of a label: blanks, hyphens and underscores between letters or digits, but for the sign of a number."""
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
PERHAPS = 0.6
"""Likeness from which a name is told as what may be meant."""


def spelled(label: str) -> str:
    """A label without what case, white space and the form of accents say."""
    return " ".join(unicodedata.normalize("NFC", label).split()).casefold()


def separated(label: str) -> str:
    """The same, whichever of blanks, hyphens and underscores stand between its words."""
    return BETWEEN.sub(" ", spelled(label))


def joined(label: str) -> str:
    """The same, whether or not anything stands between its words: creditCard as credit_card. Digits stay apart: 1-0 is not 10."""
    return re.sub(r"(?<!\d) | (?!\d)", "", separated(label))


def words_of(label: str) -> str:
    """The words of a label, in small letters, with a blank between them."""
    return " ".join(re.findall(r"[^\W_]+", CAMEL.sub(" ", unicodedata.normalize("NFC", label)))).casefold()


def nearest(label: str, names: Sequence[str], cutoff: float) -> list[tuple[float, str]]:
    """Of `names` the two that are most like a label, as (likeness from `cutoff` to 1, name), the nearest first; as words, whatever separates them."""
    text = words_of(label)[:LONGEST]
    by_words: dict[str, str] = {}
    for name in names:
        by_words.setdefault(words_of(name)[:LONGEST], name)
    close = difflib.get_close_matches(text, by_words, n=2, cutoff=cutoff) if text else []
    return [(difflib.SequenceMatcher(None, one, text).ratio(), by_words[one]) for one in close]


def check_labels(
    rows: Sequence[Sequence[str]],
    known: Sequence[str],
    *,
    where: str = "data",
    known_to: str = "the model",
    fix: str = "correct the labels, or add training rows with them",
) -> None:
    """Check that each label of `rows`, each with all of its labels, is among `known`.

    Raises:
        BadInput: some are not; each is named with its rows, counted from 1, and the nearest known label.
    """
    expected = set(known)
    unknown: dict[str, list[int]] = {}
    for number, labels in enumerate(rows, 1):
        for label in dict.fromkeys(labels):
            if label not in expected:
                unknown.setdefault(label, []).append(number)
    if not unknown:
        return
    faults = []
    for label, numbers in sorted(unknown.items())[:MOST_LABELS]:
        close = nearest(label, known, PERHAPS)
        more = f" and {len(numbers) - MOST_ROWS} more" if len(numbers) > MOST_ROWS else ""
        shown = ", ".join(map(str, numbers[:MOST_ROWS])) + more
        faults.append(f"{label!r} in row{'s' * (len(numbers) > 1)} {shown}" + (f", perhaps {close[0][1]!r}" if close else ""))
    many = "a label" if len(unknown) == 1 else f"{len(unknown)} labels"
    raise BadInput(
        f"{many} unknown to {known_to}, which has {few(known)}",
        where=where,
        faults=faults,
        fix=fix,
        see="labels-unknown-to-the-model",
    )


def few(labels: Sequence[str]) -> str:
    """The first of `labels`, and how many more there are."""
    more = f" and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
    return ", ".join(map(repr, labels[:MOST_LABELS])) + more


def as_table(key: str, entries: Mapping[str, str]) -> str:
    """`entries` under `key` of a recipe, as TOML that can be pasted."""
    return f"{key} = {{ {', '.join(as_lines(entries))} }}"


def as_lines(entries: Mapping[str, str]) -> list[str]:
    """`entries` as lines of TOML, one each."""
    return [
        f"{json.dumps(name, ensure_ascii=False)} = {json.dumps(value, ensure_ascii=False)}" for name, value in entries.items()
    ]


def named(value: object, names: Sequence[str]) -> object:
    """The name of a numbered class label, or the names of a list of them; None for numbers without a name, as -1 of unlabelled rows."""
    if isinstance(value, list):
        return [named(item, names) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else None
    return value
