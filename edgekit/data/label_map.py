"""Labels of rows as names of a model's outputs: as the recipe says, or where they can only be meant one way."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgekit.data.labels import LONGEST, as_table, few, joined, separated, spelled
from edgekit.errors import BadInput

__all__ = ["Renamed", "by_number", "doubtful_labels", "made_one", "renamed_labels", "told"]

NUMBER = re.compile(r"(?:LABEL_)?(\d+)(?:\.0+)?")
"""A label that is the number of an output: as transformers names outputs without a name, or as tables write numbers."""
MISSING = frozenset({"nan", "na", "n/a", "<na>", "null", "none", "nat"})
"""What libraries write where there is no value, in small letters."""
SWITCH = {"false": 0, "true": 1}
WHERE = "data, labels"
SHOWN = 5
"""Labels, or pairs of them, that a line names."""
READ_AS = 10
"""Labels whose names a line tells."""
BRIDGED = "apart from case, blanks, hyphens and underscores"


@dataclass(frozen=True)
class Renamed:
    """What one label of the rows is read as, and why."""

    label: str
    name: str
    why: str


def renamed_labels(found: Iterable[str], said: Mapping[str, str], known: Sequence[str] | None) -> list[Renamed]:
    """Of the labels `found` in rows, those that are not names of outputs as they stand, with the names that are meant.

    `said`: what the recipe says, label -> name. `known`: names of the model's outputs in order; None where the rows name them, as a new
    head's. A label that could be any output is left as it is.

    Raises:
        BadInput: a label of the recipe that no row has, a name that the model does not have, a label that may mean several names.
    """
    labels = sorted(set(found))
    faults = [f"{label!r} is in no row; the rows have {few(labels)}" for label in sorted(set(said) - set(labels))]
    if known is not None:
        faults += [
            f"{label!r} is to be {name!r}, which the model does not have; it has {few(known)}"
            for label, name in sorted(said.items())
            if name not in known
        ]
    if faults:
        raise BadInput(
            "does not fit the rows and the model",
            where=WHERE,
            faults=faults,
            fix=f"write {as_table('labels', {'label of the rows': 'name of the model'})} in [data]",
        )
    renamed = [Renamed(label, said[label], "as the recipe says") for label in labels if label in said]
    others = [label for label in labels if label not in said]
    return renamed + (_one_spelling(others) if known is None else _meant(others, known, said))


def by_number(labels: Sequence[str], known: Sequence[str]) -> dict[str, str] | None:
    """Each of `labels` -> the name of the output that it is the number of; None where one is no number of an output."""
    numbers = {label: _number(label, len(known)) for label in labels}
    names = {label: known[number] for label, number in numbers.items() if number is not None and number < len(known)}
    return names if len(names) == len(labels) else None


def told(renamed: Sequence[Renamed]) -> list[str]:
    """What was read as what, one line for each reason."""
    reasons = dict.fromkeys(one.why for one in renamed)
    pairs = {why: [f"{one.label!r} as {one.name!r}" for one in renamed if one.why == why] for why in reasons}
    return [f"labels of the rows are read, {why}: {_first(shown, READ_AS)}" for why, shown in pairs.items()]


def made_one(found: Mapping[str, int], renamed: Sequence[Renamed]) -> list[str]:
    """What is told of labels that are not the same but for case and white space, and are read as one. `found`: label -> how often it is there."""
    names = {one.label: one.name for one in renamed}
    groups: dict[str, list[str]] = {}
    for label in sorted(found):
        groups.setdefault(names.get(label, label), []).append(label)
    several = [(name, labels) for name, labels in groups.items() if len(set(map(spelled, labels))) > 1]
    shown = [
        f"{name!r} is {_first([f'{label!r} ({found[label]:,} times)' for label in labels], READ_AS)}"
        for name, labels in several
    ]
    return [f"several labels of the rows are read as one, and not told apart: {_first(shown, SHOWN, '; ')}"] if shown else []


def _first(shown: Sequence[str], most: int, mark: str = ", ") -> str:
    """The first of them, and how many more there are."""
    return mark.join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def doubtful_labels(labels: Sequence[str]) -> list[str]:
    """What is told of the labels that are to name a new head's outputs, as they name a class each: some that are the same but for case, blanks,
    hyphens and underscores, or that a library writes for no label at all."""
    spellings: dict[str, list[str]] = {}
    for label in sorted(set(labels)):
        spellings.setdefault(joined(label), []).append(label)
    alike = [" and ".join(map(repr, several)) for several in spellings.values() if len(several) > 1]
    missing = [repr(label) for several in spellings.values() for label in several if spelled(label) in MISSING]
    told = []
    if alike:
        same = "; where they are one label, write so under [data.labels]"
        told.append(
            f"warning: labels that are the same but for case, blanks, hyphens and underscores are told apart: {', '.join(alike[:SHOWN])}{same}"
        )
    if missing:
        told.append(
            f"warning: {', '.join(missing[:SHOWN])} counts as a label, and may stand for none; take such rows out where it does"
        )
    return told


def _meant(labels: Sequence[str], known: Sequence[str], said: Mapping[str, str]) -> list[Renamed]:
    """Labels that are a name of the model apart from case and white space, or the number of an output that has no other name, where all numbers
    are (1 to 3 of LABEL_0 to LABEL_2 count from 1); and those that are one apart from what separates its words, where no other label is that name
    and the label could be no other."""
    by_text: dict[str, list[str]] = {}
    for name in known:
        by_text.setdefault(spelled(name), []).append(name)
    numbers = [
        number for label in (*labels, *said) if label not in known and (number := _number(label, len(known))) is not None
    ]
    numbered = all(_number(name) == position for position, name in enumerate(known)) and max(numbers, default=0) < len(known)
    renamed, faults, several = [], [], []
    bridged = _bridges([label for label in labels if label not in known], known)
    taken = Counter([*said.values(), *bridged.values(), *(label for label in labels if label in known)])
    for label in labels:
        if label in known:
            continue
        names, number = by_text.get(spelled(label), []), _number(label, len(known))
        if len(names) > 1:
            faults.append(f"{label!r} may be {' or '.join(map(repr, names))}")
            several.append(label)
        elif names:
            plain = " ".join(label.split()).casefold() == " ".join(names[0].split()).casefold()
            renamed.append(
                Renamed(
                    label,
                    names[0],
                    "apart from case and white space" if plain else "the same letters in another form of Unicode",
                )
            )
        elif numbered and number is not None and number < len(known):
            renamed.append(Renamed(label, known[number], "by the number of the output"))
        elif label in bridged and taken[bridged[label]] == 1:
            renamed.append(Renamed(label, bridged[label], BRIDGED))
    if faults:
        raise BadInput(
            "labels of the rows that may mean several of the model's",
            where=WHERE,
            faults=faults,
            fix=f"say which, as {as_table('labels', {**said, several[0]: 'NAME'})} in [data], with a name of the model for NAME",
        )
    return renamed


def _bridges(labels: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Label -> the only name that it is in the closest comparison in which it is any."""
    bridged: dict[str, str] = {}
    left = [label for label in labels if len(label) <= LONGEST]
    for fold in (spelled, separated, joined):
        names: dict[str, list[str]] = {}
        for name in known:
            names.setdefault(fold(name), []).append(name)
        found = {label: names[folded] for label in left if (folded := fold(label)) in names}
        bridged |= {label: one[0] for label, one in found.items() if len(one) == 1}
        left = [label for label in left if label not in found]
    return bridged


def _one_spelling(labels: Sequence[str]) -> list[Renamed]:
    """Labels that name a new head's outputs, each spelled one way: without stray white space, and one number, or true, alike in all files."""
    spellings: dict[object, set[str]] = {}
    for label in labels:
        spellings.setdefault(_key(label), set()).add(" ".join(label.split()))
    renamed = []
    for label in labels:
        several = spellings[_key(label)]
        name = min(several, key=lambda spelling: (len(spelling), spelling.lower() != spelling, spelling))
        if name != label:
            renamed.append(
                Renamed(
                    label, name, "the same but for white space" if len(several) == 1 else "as one label spelled in two ways"
                )
            )
    return renamed


def _key(label: str) -> object:
    """The same for labels that are one number, or true or false, or the same text but for white space and forms of Unicode."""
    text = " ".join(unicodedata.normalize("NFC", label).split())
    match = NUMBER.fullmatch(text)
    if match and not text.startswith("LABEL_") and (match[1] == "0" or not match[1].startswith("0")):
        return int(match[1])
    return text.casefold() if text.casefold() in SWITCH else text


def _number(label: str, outputs: int = 0) -> int | None:
    """The output that a label is the number of; false and true are 0 and 1 of two outputs."""
    text = label.strip()
    match = NUMBER.fullmatch(text)
    if match:
        return int(match[1])
    return SWITCH.get(text.casefold()) if outputs == len(SWITCH) else None
