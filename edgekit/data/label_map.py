"""Labels of rows as names of a model's outputs: as the recipe says, or where they can only be meant one way."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgekit.data.labels import as_table, few
from edgekit.errors import BadInput

__all__ = ["Renamed", "by_number", "doubtful_labels", "renamed_labels", "told"]

NUMBER = re.compile(r"(?:LABEL_)?(\d+)(?:\.0+)?")
"""A label that is the number of an output: as transformers names outputs without a name, or as tables write numbers."""
MISSING = frozenset({"nan", "na", "n/a", "<na>", "null", "none", "nat"})
"""What libraries write where there is no value, in small letters."""
SWITCH = {"false": 0, "true": 1}
WHERE = "data, labels"
SHOWN = 5
"""Labels, or pairs of them, that a line names."""


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
    return [f"labels of the rows are read, {why}: {', '.join(shown)}" for why, shown in pairs.items()]


def doubtful_labels(labels: Sequence[str]) -> list[str]:
    """What is told of the labels that are to name a new head's outputs, as they name a class each: some that are the same but for case, or that
    a library writes for no label at all."""
    spellings: dict[str, list[str]] = {}
    for label in sorted(set(labels)):
        spellings.setdefault(_folded(label), []).append(label)
    alike = [" and ".join(map(repr, several)) for several in spellings.values() if len(several) > 1]
    missing = [repr(label) for folded, several in spellings.items() if folded in MISSING for label in several]
    told = []
    if alike:
        same = "; where they are one label, write so under [data.labels]"
        told.append(f"warning: labels that are the same but for case are told apart: {', '.join(alike[:SHOWN])}{same}")
    if missing:
        told.append(
            f"warning: {', '.join(missing[:SHOWN])} counts as a label, and may stand for none; take such rows out where it does"
        )
    return told


def _meant(labels: Sequence[str], known: Sequence[str], said: Mapping[str, str]) -> list[Renamed]:
    """Labels that are a name of the model apart from case and white space, or the number of an output that has no other name."""
    by_text: dict[str, list[str]] = {}
    for name in known:
        by_text.setdefault(_folded(name), []).append(name)
    numbered = all(_number(name) == position for position, name in enumerate(known))
    renamed, faults, several = [], [], []
    for label in labels:
        if label in known:
            continue
        names, number = by_text.get(_folded(label), []), _number(label, len(known))
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
    if faults:
        raise BadInput(
            "labels of the rows that may mean several of the model's",
            where=WHERE,
            faults=faults,
            fix=f"say which, as {as_table('labels', {**said, several[0]: 'NAME'})} in [data], with a name of the model for NAME",
        )
    return renamed


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


def _folded(label: str) -> str:
    return " ".join(unicodedata.normalize("NFC", label).split()).casefold()
