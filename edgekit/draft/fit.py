"""Which columns of a file are a task's: by their names, and labels by their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgekit.data.columns import usable_value
from edgekit.data.label_map import renamed_labels
from edgekit.data.likely import likely_columns
from edgekit.draft.seen import Choice, Unclear
from edgekit.errors import BadInput

__all__ = ["Fit", "Table", "are_labels", "as_text", "fit_columns"]

PAIRS = (
    ("text", "text_pair"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"),
    ("question", "sentence"), ("query", "passage"), ("question", "answer"),
)  # fmt: skip
"""Names that data sets give to two texts of a row."""
SCORED = ("sentence1", "sentence2", "score")
BITS = {"0", "1", "0.0", "1.0", "True", "False"}
LABELS = ("label", "labels")
"""Kinds of values that name outputs."""
SHOWN = 30
"""Characters of a value that are shown."""
FEW = 0.2
"""Share of the rows up to which a column has few different values, so that it may be a label."""
WORDS = 1.5
"""Words that the texts of a column have at least on average, where no name says that it is the text."""

Table = Sequence[Mapping[str, object]]
"""Rows as a file has them: column -> value."""


@dataclass(frozen=True)
class Fit:
    """Columns of the file for columns of a task."""

    columns: Mapping[str, str]
    """Column of the task -> its name in the file."""
    reasons: Mapping[str, str]
    """Column of the task -> how it was found."""


def fit_columns(
    wanted: Sequence[str],
    optional: Sequence[str],
    kinds: Mapping[str, str],
    rows: Table,
    known: Sequence[str] | None,
    said: Mapping[str, str],
) -> Fit | None:
    """Columns of `rows` for those that a task wants; None where one of them is not there.

    `kinds`: column -> the kind of its values, where its name does not say it. `known`: names of the model's outputs; labels are such.
    `said`: what the user said, column of the task -> name in the file.

    Raises:
        Unclear: several columns could be the label.
    """
    there = {
        name: next((row[name] for row in rows if row.get(name) not in (None, "")), None) for row in rows[:1] for name in row
    }
    found = {column: name for column, name in said.items() if column in (*wanted, *optional)}
    reasons = dict.fromkeys(found, "as you said")
    if "text_pair" in optional and not {"text", "text_pair"} & set(found):
        for first, second in PAIRS:
            if first in there and second in there and "text" in wanted:
                found |= {"text": first, "text_pair": second}
                reasons |= dict.fromkeys(("text", "text_pair"), "the two texts of a row, by their names")
                break
    for column in wanted:
        if column not in found and column in there and usable_value(kinds.get(column, column), there[column])[1] is None:
            found[column], reasons[column] = column, "by its name"
    free = {name: value for name, value in there.items() if name not in found.values()}
    if any(column not in found and kinds.get(column, column) in LABELS for column in wanted) and (
        several := _one_hot(rows, free)
    ):
        raise BadInput(
            f"{', '.join(several)} hold 0 or 1 in every row: a column for each label, which is not how labels are read",
            where="the rows",
            fix=f'write one column with the labels of each row as a JSON list, as in ["{several[0]}", "{several[1]}"], or say which one is the '
            f"label: --column label={several[0]}",
        )
    for column in wanted:
        if column not in found and known is not None and kinds.get(column, column) in LABELS:
            named = [name for name in free if are_labels([row.get(name) for row in rows], known)]
            if len(named) == 1:
                found[column], reasons[column] = named[0], "its values are the model's labels"
                del free[named[0]]
    if set(SCORED) <= set(wanted) and not found and (scored := _scored(rows, free)) is not None:
        found |= scored
        reasons |= dict.fromkeys(scored, "two columns of texts and one of numbers")
        free = {name: value for name, value in free.items() if name not in found.values()}
    likely = likely_columns({column: column for column in wanted if column not in found}, free, kinds)
    for column, name in likely.items():
        found[column], reasons[column] = name, "by its name"
        del free[name]
    for column in wanted:
        if column in found:
            continue
        names = (
            _texts(rows, free) if column == "text" else _categories(rows, free) if kinds.get(column, column) == "label" else []
        )
        if not names:
            return None
        if column != "text" and len(names) > 1:
            choices = [Choice(name, f"such as {_few(row[name] for row in rows)}") for name in names]
            raise Unclear(f"several columns could be the {column}", choices, column=column)
        found[column] = names[0]
        reasons[column] = "the longest texts of the rows" if column == "text" else "few different values in many rows"
        del free[names[0]]
    return Fit(found, reasons)


def _few(values: Iterable[object]) -> str:
    """The first different values of a column."""
    return ", ".join(map(repr, list(dict.fromkeys(str(value)[:SHOWN] for value in values))[:3]))


def as_text(value: object) -> str:
    """A value of a row as one text; a list of words by its words."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def are_labels(values: Sequence[object], known: Sequence[str]) -> bool:
    """Whether all `values` are labels of a model, as the plan would read them."""
    labels = [label for label, fault in (usable_value("label", value) for value in values) if fault is None]
    if len(labels) < len(values) or not labels:
        return False
    try:
        meant = {one.label: one.name for one in renamed_labels(map(str, labels), {}, known)}
    except BadInput:
        return False
    return all(meant.get(str(label), str(label)) in known for label in labels)


def _scored(rows: Table, free: Mapping[str, object]) -> dict[str, str] | None:
    """Two columns of texts and one of numbers, where there are no more: pairs with a score."""
    found = _texts(rows, free)
    texts = [name for name in free if name in found]
    numbers = [
        name for name in free if name not in texts and all(usable_value("score", row.get(name))[1] is None for row in rows)
    ]
    return dict(zip(SCORED, (*texts, *numbers), strict=True)) if (len(texts), len(numbers)) == (2, 1) else None


def _one_hot(rows: Table, free: Mapping[str, object]) -> list[str]:
    """Columns that hold 0 or 1 in every row, where there are three or more: a label each."""
    columns = [name for name in free if all(str(row.get(name)).strip() in BITS for row in rows)]
    return columns if len(columns) >= 3 else []


def _texts(rows: Table, free: Mapping[str, object]) -> list[str]:
    """Columns of text with several words, the longest first."""
    words = {
        name: [len(str(row.get(name, "")).split()) for row in rows] for name, value in free.items() if isinstance(value, str)
    }
    means = {name: sum(counts) / len(counts) for name, counts in words.items()}
    return sorted((name for name, mean in means.items() if mean >= WORDS), key=lambda name: -means[name])


def _categories(rows: Table, free: Mapping[str, object]) -> list[str]:
    """Columns of few different values, each in several rows; the one with the most different ones first."""
    different = {
        name: len({str(row.get(name)) for row in rows})
        for name, value in free.items()
        if usable_value("label", value)[1] is None
    }
    return sorted(
        (name for name, count in different.items() if 2 <= count <= max(2, FEW * len(rows))), key=lambda name: -different[name]
    )
