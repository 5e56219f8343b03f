"""Whether every label of some rows is known."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence

from edgekit.errors import BadInput

__all__ = ["as_table", "check_labels", "few", "named"]

MOST_LABELS = 10
MOST_ROWS = 5
LONGEST = 200
"""Characters of a label that are compared with others: likeness takes the square of them."""


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
        close = difflib.get_close_matches(label[:LONGEST], known, n=1)
        more = f" and {len(numbers) - MOST_ROWS} more" if len(numbers) > MOST_ROWS else ""
        shown = ", ".join(map(str, numbers[:MOST_ROWS])) + more
        faults.append(f"{label!r} in row{'s' * (len(numbers) > 1)} {shown}" + (f", perhaps {close[0]!r}" if close else ""))
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
    shown = ", ".join(
        f"{json.dumps(name, ensure_ascii=False)} = {json.dumps(value, ensure_ascii=False)}" for name, value in entries.items()
    )
    return f"{key} = {{ {shown} }}"


def named(value: object, names: Sequence[str]) -> object:
    """The name of a numbered class label, or the names of a list of them; None for numbers without a name, as -1 of unlabelled rows."""
    if isinstance(value, list):
        return [named(item, names) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else None
    return value
