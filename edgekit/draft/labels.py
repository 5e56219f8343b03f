"""What the labels of rows mean to a model: names of its outputs, or their numbers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgekit.data.columns import usable_value
from edgekit.data.label_map import by_number, renamed_labels
from edgekit.data.labels import LONGEST, few, joined, nearest, words_of
from edgekit.draft.seen import Choice
from edgekit.errors import BadInput

__all__ = ["LABELS", "Meaning", "are_labels", "guessed", "labels_in", "meaning_of", "what_labels_mean"]

LABELS = ("label", "labels", "tags")
"""Kinds of values that name outputs."""
NEAR, NEARER = 0.8, 0.04
"""Similarity from which a name is guessed, and by how much it is nearer than the next; "next" and "text" have 0.75."""


ORDERS = (
    ("neg", "neu", "pos"), ("entail", "neu", "contra"), ("entail", "no"), ("no", "yes"), ("false", "true"), ("ham", "spam"),
    ("o", "b-per", "i-per", "b-org", "i-org", "b-loc", "i-loc", "b-misc", "i-misc"),
)  # fmt: skip
"""How names of outputs begin that data sets number in this order: GLUE, SNLI, MNLI and XNLI, tweet_eval, financial_phrasebank, sms_spam, conll2003.
Models may count otherwise: roberta-large-mnli from CONTRADICTION, finbert from positive, bert-base-NER with B-MISC after O."""
NEGATED = re.compile(r"(?:not|non|no)[\W_]+")
PLAIN = re.compile(r"(?i)(?:(?:label|class)[ _-]?)?\d+")
"""Outputs without a name of their own."""
SIGNED = re.compile(r"(?<![^\W_])-\d+|\d+")
"""Numbers in a label, some below 0."""
SHOWN = 5
"""Names, or labels, that a message tells."""
MOST_ASKED, MOST_OUTPUTS = 3, 12
"""Labels that are asked for one by one, and outputs of a model that are offered for each."""


@dataclass(frozen=True)
class Meaning:
    """What the labels of a column are to a model."""

    table: Mapping[str, str]
    """Label -> the name that is meant, as [data] labels has it."""
    reason: str | None = None
    """Why, where the table is not what the user said."""
    unknown: tuple[str, ...] = ()
    """Labels that are no names of the model's outputs, nor their numbers."""


def labels_in(values: Iterable[object], kind: str = "label") -> list[str] | None:
    """The different labels of a column, in order of appearance; None where a value is none."""
    found: dict[str, None] = {}
    for value in values:
        usable, fault = usable_value(kind, value)
        if fault is not None:
            return None
        found |= dict.fromkeys(map(str, usable) if isinstance(usable, list) else [str(usable)])
    return list(found)


def meaning_of(labels: Sequence[str], known: Sequence[str], said: Mapping[str, str]) -> Meaning:
    """What `labels` mean to a model with outputs called `known`; `said`: what the user said of some of them.

    Whole numbers are the numbers of outputs, in which datasets' ClassLabel and transformers' `label2id` count alike, where none of them is a
    name, nor stands in a name at another place: 1 to 4 of a model with "1 star" to "5 stars" may mean either, and so may 0 to 2 of one with
    "positive", "negative", "neutral", which no data set numbers so.

    Raises:
        BadInput: the user said a name that the model does not have.
    """
    table = {label: name for label, name in said.items() if label in labels}
    if strangers := sorted(set(table.values()) - set(known)):
        raise BadInput(
            f"the model has no {', no '.join(map(repr, strangers[:SHOWN]))}"
            + (f" and {len(strangers) - SHOWN} more of --label" if len(strangers) > SHOWN else ""),
            where="--label",
            faults=[f"{label!r} is to be it" for label, name in table.items() if name == strangers[0]][:SHOWN],
            fix=f"write one of {few(known)} behind the =",
        )
    left = [label for label in labels if label not in table]
    free = [name for name in known if name not in {*table.values(), *labels}]
    if said and len(free) == 1 and (strange := [label for label in left if label not in known]) and len(strange) == 1:
        # the only label and the only output that are left
        table = dict(sorted((table | {strange[0]: free[0]}).items(), key=lambda item: known.index(item[1])))
        left.remove(strange[0])
    try:
        read_anyway = {one.label: one.name for one in renamed_labels(labels, table, known)}
    except BadInput:  # several names are meant; the plan says so
        read_anyway = {}
    unknown = [label for label in left if read_anyway.get(label, label) not in known]
    if unknown and _from_one(left, known):  # then 1 of LABEL_0, LABEL_1 is the first, and not LABEL_1
        unknown = left
    counted = _counted_otherwise(unknown, known) or [*_as_data_sets_number(known)] != [*known]
    numbers = by_number(unknown, known) if unknown and unknown == left and not counted else None
    if numbers:
        in_order = dict(sorted((table | numbers).items(), key=lambda item: known.index(item[1])))
        return Meaning(
            in_order,
            "the rows have numbers, or true and false, and the model's outputs have names: in the order of config.json",
        )
    return Meaning(table, None, tuple(unknown))


def _counted_otherwise(labels: Sequence[str], known: Sequence[str]) -> bool:
    """Whether each of `labels` is the number in the name of some output, and not all are the numbers of these outputs."""
    first: dict[str, str] = {}
    """Number -> the first output whose name holds it, and no other."""
    for name in known:
        if len(numbers := set(re.findall(r"\d+", name))) == 1:
            first.setdefault(numbers.pop(), name)
    inside = {label: first.get(label.strip().removesuffix(".0")) for label in labels}
    return None not in inside.values() and any(by_number([label], known) != {label: name} for label, name in inside.items())


def _as_data_sets_number(known: Sequence[str]) -> Sequence[str]:
    """Names of outputs in the order that data sets number such names in, a name's negation before it; `known` itself where nothing says so."""
    names = [name.strip().casefold() for name in known]
    for order in ORDERS:
        places = [place for name in names for place, begun in enumerate(order) if name.startswith(begun)]
        if len(names) == len(places) == len(set(places)):
            return [name for _, name in sorted(zip(places, known, strict=True))]
    negated = len(names) == 2 and NEGATED.sub("", names[1], count=1) == names[0] != names[1]
    return known[::-1] if negated else known


def are_labels(labels: Sequence[str] | None, known: Sequence[str]) -> bool:
    """Whether all of a column's labels are a model's own, as the plan reads them without being told."""
    meaning = None if not labels else meaning_of(labels, known, {})
    return meaning is not None and not meaning.unknown and not meaning.table


def guessed(labels: Sequence[str], known: Sequence[str], used: Sequence[str] = ()) -> dict[str, str]:
    """For each of `labels` the name that it may be short for, or like; NAME where none is near, or several are, as for a word of several names.

    `used`: names of `known` that other labels are: such a label is one only by the same letters.
    """
    if counted := _from_one(labels, known):
        return counted
    free = [name for name in known if name not in used]
    by_letters: dict[str, list[str]] = {}
    for name in known:
        by_letters.setdefault(joined(name), []).append(name)
    of_words = {name: words_of(name).split() for name in free}
    found = {}
    before = _before(labels)
    for label in (label.removeprefix(before) for label in labels):
        same, words = by_letters.get(joined(label[:LONGEST]), []), words_of(label[:LONGEST]).split()
        of_number = {name: others for name, others in of_words.items() if SIGNED.findall(label) == SIGNED.findall(name)}
        begun = [name for name, others in of_number.items() if _short_for(words, others) or _short_for(others, words)]
        if not begun and all(word.isdecimal() for word in words):  # 4 of "4 stars"
            begun = [*of_number] if words else []
        if not begun:  # PER-B of B-PER
            begun = [name for name, others in of_number.items() if words and sorted(others) == sorted(words)]
        close = nearest(label, [name for name, others in of_number.items() if not _wider(words, others)], NEAR)
        alone = len(close) == 1 or (len(close) > 1 and close[0][0] - close[1][0] >= NEARER)
        names = same or begun or ([close[0][1]] if alone else [])
        found[label] = names[0] if len(names) == 1 else "NAME"
    return {before + label: name if [*found.values()].count(name) == 1 else "NAME" for label, name in found.items()}


def _from_one(labels: Sequence[str], known: Sequence[str]) -> dict[str, str] | None:
    """Each of `labels` -> the output of its number, where outputs are counted from 1 to the last; None where they are not, or names say otherwise."""
    numbers = {label: int(label) for label in labels if re.fullmatch("[0-9]{1,6}", label)}
    named = any(map(re.compile(r"\d").search, known))
    in_order = [int(re.sub(r"\D", "", name)) for name in known if PLAIN.fullmatch(name)]
    if named and (len(in_order) < len(known) or in_order != sorted(in_order)):
        return None
    if not labels or len(numbers) < len(labels) or min(numbers.values()) < 1 or max(numbers.values()) != len(known):
        return None
    return {label: known[number - 1] for label, number in numbers.items()}


def _before(labels: Sequence[str]) -> str:
    """What stands before each of several labels, up to a mark, such as __label__ of fastText or the name of a column; "" where nothing does."""
    alike = "".join(
        letters[0] for letters in itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*labels, strict=False))
    )
    mark = re.sub(r"[^\W_]*$", "", alike)
    return mark if len(labels) > 1 and re.search(r"[^\W_]", mark) and mark[-1] not in "+-" else ""


def _short_for(short: Sequence[str], words: Sequence[str]) -> bool:
    """Whether each word begins as the one in its place, as "neg" does "negative"; one word of several is no short form, but may be wider."""
    return len(short) == len(words) > 0 and all(word.startswith(one) for one, word in zip(short, words, strict=True))


def _wider(words: Sequence[str], others: Sequence[str]) -> bool:
    """Whether one of both has all words of the other, and more, or another letter alone: S-PER is no I-PER."""
    letters = [{word for word in several if len(word) == 1} for several in (words, others)]
    more = set(words) != set(others) and (set(words) <= set(others) or set(others) <= set(words))
    return more or letters[0] != letters[1]


def what_labels_mean(unknown: Sequence[str], left: Sequence[str]) -> list[Choice]:
    """What a person may say of labels that the model does not have; none where there are too many to be asked for.

    `left`: names of the model's outputs that no label of the rows is. Where each label is like one of them, or there are as many, all are said
    at once; else the first is asked for, and the next ones after it.
    """
    guesses = guessed(unknown, left)
    orders: list[tuple[Mapping[str, str], str]] = []
    usual = _as_data_sets_number(left)
    if [*usual] != [*left] and len(unknown) == len(left) and (numbers := by_number(unknown, usual)):
        orders = [(numbers, "as data sets number them"), (by_number(unknown, left) or {}, "in the order of config.json")]
    elif len(set(guesses.values()) - {"NAME"}) == len(unknown):
        orders = [(guesses, "by their likeness")]
    elif len(unknown) == len(left) and (len(unknown) == 2 or (len(unknown) > MOST_ASKED and all(map(PLAIN.fullmatch, left)))):
        alphabet = sorted(unknown)
        orders = [(dict(zip(alphabet, left, strict=True)), "in the order of the alphabet, as labels are mostly numbered")]
        others = alphabet[::-1] if len(unknown) == 2 else list(unknown)
        if others != alphabet:
            named = "the other way round" if len(unknown) == 2 else "in the order of the rows"
            orders.append((dict(zip(others, left, strict=True)), named))
    choices = [
        Choice(
            ", ".join(f"{label} = {name}" for label, name in order.items()),
            why,
            tuple(("--label", label, name) for label, name in order.items()),
        )
        for order, why in orders
    ]
    if not choices and len(unknown) <= MOST_ASKED and len(left) <= MOST_OUTPUTS:
        label = unknown[0]
        first = sorted(left, key=lambda name: name != guesses[label])
        choices = [Choice(f"{label} = {name}", f"output {name!r} of the model", (("--label", label, name),)) for name in first]
    none = Choice(
        "none", "they are none of the model's: the original's own answers are right", (("--answers", "", "original"),)
    )
    return [*choices, none] if choices else []
