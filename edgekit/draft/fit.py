"""Which columns of a file are a task's: by their names, and by what they hold."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from edgekit.data.columns import usable_value
from edgekit.data.images import FILES
from edgekit.data.labels import joined
from edgekit.data.likely import OFTEN, likely_columns
from edgekit.draft.labels import LABELS, are_labels, labels_in, meaning_of
from edgekit.draft.seen import Choice, Unclear
from edgekit.errors import BadInput

__all__ = [
    "NO_LABEL",
    "Fit",
    "Said",
    "Table",
    "as_text",
    "categories",
    "described",
    "few_values",
    "fit_columns",
    "hold_labels",
    "text_columns",
    "there_in",
]

PAIRS = (
    ("text", "text_pair"), ("premise", "hypothesis"), ("question", "sentence"), ("query", "passage"), ("question", "answer"),
)  # fmt: skip
"""Names that data sets give to two texts of a row."""
ORDINALS = (
    ("1", "2"), ("a", "b"), ("first", "second"), ("one", "two"), ("left", "right"), ("x", "y"), ("0", "1"), ("source", "target"),
)  # fmt: skip
"""What tells two columns of one kind apart, alone or in their names: text1 and text2, sent_a and sent_b."""
SCORED = ("sentence1", "sentence2", "score")
BITS = {"0", "1", "0.0", "1.0", "True", "False"}
DATE = re.compile(
    r"(?:\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4})(?:[T ,]\s*\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(?::\d{2}.*)?"
)
"""A date in figures, perhaps with a time, or a time alone."""
NO_LABEL = {"", "-", "--", "?", "none", "n/a", "na", "nan", "null"}
"""What stands for no label, in small letters."""
SHOWN = 30
"""Characters of a value that are shown."""
FEW = 0.2
"""Share of the rows up to which a column has few different values, so that it may be a label."""
SEEN = 0.75
"""Share of a model's outputs that its column of labels has at least."""
WORDS = 1.5
"""Words that the texts of a column have at least on average, where no name says that it is the text."""
MOST_COLUMNS = 12
"""Columns that a message describes."""

Table = Sequence[Mapping[str, object]]
"""Rows as a file has them: column -> value."""


@dataclass(frozen=True)
class Said:
    """What the user said of the rows."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the task -> its name in the file."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label in the file -> name of the model's output."""


@dataclass(frozen=True)
class Fit:
    """Columns of the file for columns of a task."""

    columns: Mapping[str, str]
    """Column of the task -> its name in the file."""
    reasons: Mapping[str, str]
    """Column of the task -> how it was found."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label in the file -> name of the model's output, where the plan would not read it so by itself."""
    labels_reason: str = ""
    unknown: tuple[str, ...] = ()
    """Labels that the model does not have."""


def fit_columns(
    wanted: Sequence[str],
    optional: Sequence[str],
    kinds: Mapping[str, str],
    rows: Table,
    known: Sequence[str] | None,
    said: Said,
) -> Fit | tuple[str, ...]:
    """Columns of `rows` for those that a task wants; or those of them that no column of the file could be.

    `kinds`: column -> the kind of its values, where its name does not say it. `known`: names of the model's outputs; labels are such.

    Raises:
        Unclear: several columns could be the label.
        BadInput: a column for each label.
    """
    there = there_in(rows)
    found = {column: name for column, name in said.columns.items() if column in (*wanted, *optional)}
    reasons = dict.fromkeys(found, "as you said")

    def free() -> dict[str, object]:
        taken = {
            *found.values(),
            *said.columns.values(),
        }  # a column that was named for another task's is not meant for this one's
        return {name: value for name, value in there.items() if name not in taken}

    def take(columns: Mapping[str, str], reason: str) -> None:
        found.update(columns)
        reasons.update(dict.fromkeys(columns, reason))

    def kind(column: str) -> str:
        return kinds.get(column, column)

    if "text_pair" in optional and "text" in wanted and not {"text", "text_pair"} & set(found) and (two := _two(rows, there)):
        take(dict(zip(("text", "text_pair"), two, strict=True)), "the two texts of a row, by their names")
    for column in wanted:
        if column not in found and column in there and usable_value(kind(column), there[column])[1] is None:
            take({column: column}, "by its name")
    for column in wanted:
        if column not in found and kind(column) in FILES:
            holding = [name for name, value in free().items() if usable_value(kind(column), value)[1] is None]
            if len(holding) > 1:
                choices = [
                    Choice(name, f"such as {few_values([rows[0].get(name)])}", (("--column", column, name),))
                    for name in holding
                ]
                raise Unclear(f"several columns could be the {column}", choices)
            take(dict.fromkeys([column] if holding else [], *holding), f"its values are {FILES[kind(column)]}")
    open_labels = [column for column in wanted if column not in found and kind(column) in LABELS]
    if open_labels and (several := _one_hot(rows, free(), known or ())):
        raise _a_column_each(several)
    lists = [kind(column) for column in open_labels if kind(column) != "label"]
    if lists and (in_one := _joined(rows, free(), lists[0], known or ())) is not None:
        raise BadInput(
            f"column {in_one!r} holds several labels in one text, as in {few_values(row.get(in_one) for row in rows)}", where="the rows",
            fix="write the labels of each row as a JSON list, as in " + json.dumps([*(known or ())[:2]], ensure_ascii=False),
        )  # fmt: skip
    for column in open_labels if known is not None else ():
        values = {name: labels_in((row.get(name) for row in rows), kind(column)) for name in free()}
        named = [name for name, labels in values.items() if are_labels(labels, known or ())]
        numbered = [
            name
            for name, labels in values.items()
            if labels is not None and len(labels) > 1 and meaning_of(labels, known or (), {}).reason is not None
        ]
        called = [name for name in named if name.casefold() in OFTEN.get(column, ())]
        if len(rivals := _unequal(rows, called or named)) > 1:
            raise _several(column, rivals, rows, known)
        if named:
            why = ", and it is called so, where others are labels of the model too" if called and len(named) > 1 else ""
            take({column: rivals[0]}, f"its values are the model's labels{why}")
        elif not named and len(numbered) == 1:
            take({column: numbered[0]}, "its values are numbers of the model's outputs")
    for column in open_labels:
        if column not in found and len(rivals := _called_labels(rows, free(), kind(column), known)) > 1:
            raise _several(column, rivals, rows, known)
    if set(SCORED) <= set(wanted) and not found and (scored := _scored(rows, free())) is not None:
        take(scored, "two columns of texts and one of numbers")
    for column, name in likely_columns({column: column for column in wanted if column not in found}, free(), kinds).items():
        take({column: name}, "by its name")
    missing = []
    for column in wanted:
        if column in found:
            continue
        names: list[str] = []
        if column == "text" or kind(column) == "split":
            names, reason = text_columns(rows, free()), "the longest texts of the rows"
        elif kind(column) == "tokens" and "tags" in found:
            names, reason = _as_many_words(rows, free(), found["tags"]), "texts of as many words as there are tags"
        elif kind(column) == "label":
            names, reason = _labelled(rows, free(), known), "few different values in many rows"
            if not names and known is not None:
                names, reason = (
                    _as_many_values(rows, free(), len(known)),
                    "about as many different values as the model has outputs",
                )
                names = _with_labels(rows, names, said.labels)
        elif kind(column) == "score":
            names, reason = _numbers(rows, free()), "the only column of numbers"
        if not names:
            missing.append(column)
            continue
        if kind(column) in ("label", "score") and len(names) > 1:
            raise _several(column, names, rows, known if kind(column) == "label" else None)
        take({column: names[0]}, reason)
    if missing:
        return tuple(missing)
    labels, why, unknown = _meant(found, kinds, rows, known, said.labels)
    if labels and not said.labels:
        _check_names_beside(rows, found, free(), labels, known or ())
    return Fit(found, reasons, labels, why, unknown)


def _several(column: str, names: Sequence[str], rows: Table, known: Sequence[str] | None) -> Unclear:
    """The question which of `names` is a column; none of them may be a label of a model with outputs called `known`."""
    choices = [
        Choice(name, f"such as {few_values(row.get(name) for row in rows)}", (("--column", column, name),)) for name in names
    ]
    if known is not None:
        choices.append(Choice("none", "the original's own answers are right", (("--answers", "", "original"),)))
    return Unclear(f"several columns could be the {column}", choices)


def _called_labels(rows: Table, free: Mapping[str, object], kind: str, known: Sequence[str] | None) -> list[str]:
    """Columns that are called labels of something, as label-coarse and label-fine, and hold such: of a model with outputs called `known`, those
    that may be its own, where some are. Of two that say the same, as label_id and label_name, the first."""
    called = [name for name in free if {"label", "labels"} & set(re.split("[^a-z]+", name.casefold()))]
    held = {name: labels_in((row.get(name) for row in rows), kind) or [] for name in called}
    named = [name for name in called if 1 < len(held[name]) < len(rows)]
    own = [name for name in named if not meaning_of(held[name], known or (), {}).unknown]
    return _different(rows, own or named)


def _unequal(rows: Table, names: Sequence[str]) -> list[str]:
    """Those of the columns that do not hold the same label in each row as one before."""
    held = {name: [joined(str(row.get(name))) for row in rows] for name in names}
    return [name for place, name in enumerate(names) if all(held[name] != held[one] for one in names[:place])]


def _different(rows: Table, names: Sequence[str]) -> list[str]:
    """Those of the columns that do not say the same as one before, each value for one of its own."""
    several: list[str] = []
    for name in names:
        pairs = [{(str(row.get(one)), str(row.get(name))) for row in rows} for one in several]
        if all(len(both) > max(len({one for one, _ in both}), len({other for _, other in both})) for both in pairs):
            several.append(name)
    return several


def hold_labels(rows: Table, names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Columns whose values are all a model's labels, but for marks that there is none."""
    values = {name: [row.get(name) for row in rows if str(row.get(name)).strip().casefold() not in NO_LABEL] for name in names}
    return [name for name, there in values.items() if 2 * len(there) >= len(rows) and are_labels(labels_in(there), known)]


def few_values(values: Iterable[object]) -> str:
    """The first different values of a column."""
    shown = dict.fromkeys("a file" if isinstance(value, bytes | dict) else repr(str(value)[:SHOWN]) for value in values)
    return ", ".join([*shown][:3])


def described(rows: Table) -> list[str]:
    """Each column of a file with some of its values, for messages."""
    names = list(there_in(rows))
    shown = [f"{name!r}, such as {few_values(row.get(name) for row in rows[:50])}" for name in names[:MOST_COLUMNS]]
    return shown + ([f"and {len(names) - MOST_COLUMNS} columns more"] if len(names) > MOST_COLUMNS else [])


def as_text(value: object) -> str:
    """A value of a row as one text; a list of words by its words."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def there_in(rows: Table) -> dict[str, object]:
    """Columns that most rows have, each with the first value that it has."""
    counts = Counter(name for row in rows for name in row)
    names = [name for name, count in counts.items() if 2 * count >= len(rows)]
    return {name: next((row[name] for row in rows if row.get(name) not in (None, "")), None) for name in names}


def _meant(
    found: Mapping[str, str], kinds: Mapping[str, str], rows: Table, known: Sequence[str] | None, said: Mapping[str, str]
) -> tuple[Mapping[str, str], str, tuple[str, ...]]:
    """(label -> name, why, labels that the model does not have) of the column of labels, where there is one."""
    for column, name in found.items():
        if kinds.get(column, column) in LABELS:
            labels = labels_in((row.get(name) for row in rows), kinds.get(column, column)) or []
            if known is None:
                return dict(said), "as you said", ()
            meaning = meaning_of(labels, known, said)
            return meaning.table, meaning.reason or "as you said", meaning.unknown
    return {}, "", ()


def _check_names_beside(
    rows: Table, found: Mapping[str, str], free: Mapping[str, object], meant: Mapping[str, str], known: Sequence[str]
) -> None:
    """Raises BadInput where a column of the model's labels beside one of numbers says that these are `meant` otherwise."""
    numbers = next((name for name in found.values() if {*(labels_in(row.get(name) for row in rows) or ())} == {*meant}), None)
    for name in free:
        if numbers is None or not are_labels(labels_in(row.get(name) for row in rows), known):
            continue
        pairs = {(_one_label(row.get(numbers)), _one_label(row.get(name))) for row in rows}
        if len(pairs) == len({number for number, _ in pairs}) == len({label for _, label in pairs}) and any(
            meant.get(number) != label for number, label in pairs
        ):
            number, label = min(pair for pair in pairs if meant.get(pair[0]) != pair[1])
            raise BadInput(
                f"column {numbers!r} has {number} where {name!r} has {label!r}, and output {number} of the model is {meant.get(number)!r}",
                where="the rows",
                fix=f"say which is meant: --column label={shlex.quote(name)}, or the numbers by --label {shlex.quote(f'{number}={label}')} and so on",
            )


def _one_label(value: object) -> str:
    """A label as `labels_in` has it."""
    return next(iter(labels_in([value]) or ()), "")


def _two(rows: Table, there: Mapping[str, object]) -> tuple[str, str] | None:
    """The columns of two texts of a row, by names that say that they belong together."""
    for first, second in PAIRS:
        if first in there and second in there:
            return first, second
    texts = text_columns(rows, there)
    for one in texts:
        for first, second in ORDINALS:
            other = re.sub(
                rf"(?i)(?<![a-z0-9]){first}$|(?<=[a-z_]){first}$" if first.isdigit() else rf"(?i)(?:^|(?<=[_. -])){first}$",
                second,
                one,
            )
            if other != one and other in texts:
                return one, other
    return None


def _joined(rows: Table, free: Mapping[str, object], kind: str, known: Sequence[str]) -> str | None:
    """The column whose texts are the model's labels with something between them, which is not how values of this kind are written."""
    for name in free:
        texts = [row.get(name) for row in rows]
        if are_labels(labels_in(texts, kind), known):
            continue
        given = {text.strip() for text in texts if isinstance(text, str) and text.strip()}
        marked = [text for text in given if re.search("[,;|/]", text)]
        parts = (re.split(r"\s*[,;|/]\s*", text) if marked else text.split() for text in given)
        if (marked or any(len(text.split()) > 1 for text in given)) and all(label in known for part in parts for label in part):
            return name
    return None


def _a_column_each(several: Sequence[str]) -> BadInput:
    return BadInput(
        f"{', '.join(several)} hold numbers in every row: a column for each label, which is not how labels are read",
        where="the rows",
        fix=f'write one column with the labels of each row as a JSON list, as in ["{several[0]}", "{several[1]}"], or say which one is the '
        f"label: --column label={several[0]}",
    )


def _scored(rows: Table, free: Mapping[str, object]) -> dict[str, str] | None:
    """Two columns of texts and one of numbers, where there are no more: pairs with a score."""
    found = text_columns(rows, free)
    texts = [name for name in free if name in found]
    numbers = _numbers(rows, {name: value for name, value in free.items() if name not in texts})
    return dict(zip(SCORED, (*texts, *numbers), strict=True)) if (len(texts), len(numbers)) == (2, 1) else None


def _numbers(rows: Table, free: Mapping[str, object]) -> list[str]:
    """Columns of numbers, but those that count the rows."""
    numbers = {
        name: [float(str(row[name])) for row in rows]
        for name in free
        if all(usable_value("score", row.get(name))[1] is None for row in rows)
    }
    return [name for name, values in numbers.items() if any(after != before + 1 for before, after in pairwise(values))]


def _one_hot(rows: Table, free: Mapping[str, object], known: Sequence[str]) -> list[str]:
    """Columns that hold 0 or 1 in every row, where there are three or more, or that hold numbers under names of the model's labels: a label
    each."""
    folded = set(map(joined, known))
    named = [name for name in free if joined(name) in folded and all(_is_number(row.get(name)) for row in rows)]
    columns = [name for name in free if all(str(row.get(name)).strip() in BITS for row in rows)]
    return columns if len(columns) >= 3 else named if len(named) >= 2 else []


def _as_many_words(rows: Table, free: Mapping[str, object], tags: str) -> list[str]:
    """Columns of texts that have, in every row, as many words as the column `tags` has tags."""
    counts = [
        len(found) if isinstance(found, list) else None for found in (usable_value("tags", row.get(tags))[0] for row in rows)
    ]
    return [name for name in text_columns(rows, free) if [len(str(row.get(name, "")).split()) for row in rows] == counts]


def _is_number(value: object) -> bool:
    return isinstance(value, bool) or usable_value("score", value)[1] is None


def text_columns(rows: Table, free: Mapping[str, object]) -> list[str]:
    """Columns of text with several words, the longest first."""
    words = {
        name: [len(str(row.get(name, "")).split()) for row in rows] for name, value in free.items() if isinstance(value, str)
    }
    means = {name: sum(counts) / len(counts) for name, counts in words.items()}
    return sorted((name for name, mean in means.items() if mean >= WORDS), key=lambda name: -means[name])


def _are_dates(values: Iterable[object]) -> bool:
    """Whether all values of a column that are there are dates or times of day."""
    there = [str(value).strip() for value in values if value not in (None, "")]
    return bool(there) and all(DATE.fullmatch(text) for text in there)


def _labelled(rows: Table, free: Mapping[str, object], known: Sequence[str] | None) -> list[str]:
    """Columns that may be the label: of few different values, of which a model that has labels knows half."""
    names = categories(rows, free)
    if known is None:
        few_rows = _as_many_values(rows, free, len(rows))
        return names or (few_rows if len(few_rows) == 1 else [])
    share = {
        name: [label in known for label in labels] for name in names if (labels := labels_in(row.get(name) for row in rows))
    }
    return [name for name, knows in share.items() if sum(knows) * 2 >= len(knows)]


def _as_many_values(rows: Table, free: Mapping[str, object], most: int) -> list[str]:
    """Columns of labels of which each is in two rows or more on average, and of which there are at most `most` different ones, and not many
    fewer where rows are enough to have them all."""
    found = {name: labels_in(row.get(name) for row in rows) for name in free}
    least = SEEN * most if most < len(rows) else 2
    return [
        name
        for name, labels in found.items()
        if labels is not None and max(2, least) <= len(labels) <= min(most, len(rows) / 2)
    ]


def _with_labels(rows: Table, names: list[str], labels: Iterable[str]) -> list[str]:
    """Those of the columns `names` that hold all of `labels`."""
    return [name for name in names if set(labels) <= set(labels_in(row.get(name) for row in rows) or ())]


def categories(rows: Table, free: Mapping[str, object]) -> list[str]:
    """Columns of few different values, each in several rows, but of dates and times; the one with the most different ones first."""
    different = {
        name: len({str(row.get(name)) for row in rows})
        for name, value in free.items()
        if usable_value("label", value)[1] is None and not _are_dates(row.get(name) for row in rows)
    }
    return sorted(
        (name for name, count in different.items() if 2 <= count <= max(2, FEW * len(rows))), key=lambda name: -different[name]
    )
