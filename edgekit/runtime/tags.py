"""Tag schemes, read off a model's labels alone, and the entities in a sequence of tags.

A tag is "O", or a letter and a kind: `B-LOC`, `LOC-B`, `b_LOC`. What the letters mean is told by which of them there are:

- B, I (BIO, IO): an entity goes on while I of its kind follows; an I that follows nothing of its kind begins one. As CoNLL's script,
  seqeval without a scheme and transformers' token-classification pipeline read it.
- I, E (IOE); B, I, E, S (BIOES); B, I, L, U (BILOU); B, M, E, S (BMES) and B, M, E, W (BMEWO): whole entities alone count, begun and
  ended as the scheme says, as seqeval's IOE2, IOBES and BILOU in strict mode.
- No letters at all, and "O" (`LOC`, `PER`, `O`): kinds (IO). Neighbours of one kind are an entity, as in transformers' pipeline.
- No letters and no "O": plain tags, such as parts of speech. Every word has one, and there are no entities. So are tags of one character
  each, where O is one of them (pronouns, in tags of tweets).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from edgekit.runtime.errors import BadInput

__all__ = ["Scheme", "read_scheme", "scheme_fault", "spans"]

SCHEMES = {
    "BIO": {"B": "B", "I": "I"},
    "IOE": {"I": "I", "E": "E"},
    "BIOES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
    "BMES": {"B": "B", "M": "I", "E": "E", "S": "S"},
    "BMEWO": {"B": "B", "M": "I", "E": "E", "W": "S"},
}
"""Scheme -> what each of its letters means: B begins an entity, I goes on, E ends it, S is a whole one. The first that has all letters
of a model is its scheme."""
RUNS = ("BIO", "IO")
"""Schemes whose entities end without saying so."""
LETTERS = frozenset("BIESLUMW")
SEPARATORS = "-_"
OTHER_SEPARATORS = ":./|+ "
"""No scheme is written with these, but a tag that looks so is no plain one either."""


@dataclass(frozen=True)
class Scheme:
    """How tags are read."""

    name: str
    """One of `SCHEMES`, "IO" for kinds without letters, or "plain"."""
    tags: Mapping[str, tuple[str, str]]
    """Tag -> what its letter means (B, I, E, S) and its kind; ("O", "") outside of entities, and for every plain tag."""
    outside: str
    """The tag of a word that has none of its own, as one that the tokenizer drops: "O" as the labels write it; empty where O is a plain tag."""

    @property
    def plain(self) -> bool:
        """Whether every word has a tag of its own, and there are no entities."""
        return self.name == "plain"


def read_scheme(labels: Sequence[str]) -> Scheme:
    """The scheme of a model with these `labels`.

    Raises:
        BadInput: tags of several schemes, or of none that is known.
    """
    read = _read(tuple(labels))
    if isinstance(read, str):
        raise BadInput(read, where="labels")
    return read


def scheme_fault(labels: Sequence[str]) -> str | None:
    """Why entities in these tags would be lost; None where there is a scheme that reads them all."""
    read = _read(tuple(labels))
    return read if isinstance(read, str) else None


def spans(tags: Sequence[str], scheme: Scheme) -> list[tuple[str, int, int]]:
    """(kind, first word, word after the last) of each entity."""
    parts = [scheme.tags.get(tag, ("O", "")) for tag in tags]
    return _spans_of_runs(parts) if scheme.name in RUNS else _whole_spans(parts, ends_alone=scheme.name == "IOE")


def _spans_of_runs(parts: Sequence[tuple[str, str]]) -> list[tuple[str, int, int]]:
    """Entities of B and I: each goes on until another kind, a B or an O."""
    found: list[tuple[str, int, int]] = []
    kind, start = "", 0
    for position, (letter, name) in enumerate([*parts, ("O", "")]):
        if kind and (letter != "I" or name != kind):
            found.append((kind, start, position))
            kind = ""
        if letter != "O" and not kind:
            kind, start = name, position
    return found


def _whole_spans(parts: Sequence[tuple[str, str]], *, ends_alone: bool) -> list[tuple[str, int, int]]:
    """Entities that are begun and ended: B I* E or S; where nothing begins them (`ends_alone`), I* E."""
    found: list[tuple[str, int, int]] = []
    position = 0
    while position < len(parts):
        (letter, kind), start = parts[position], position
        position += 1
        if letter == "S" or (ends_alone and letter == "E"):
            found.append((kind, start, position))
        elif letter == "B" or (ends_alone and letter == "I"):
            while position < len(parts) and parts[position] == ("I", kind):
                position += 1
            if position < len(parts) and parts[position] == ("E", kind):
                position += 1
                found.append((kind, start, position))
    return found


@cache
def _read(labels: tuple[str, ...]) -> Scheme | str:
    """The scheme, or why there is none."""
    outside = next((label for label in labels if label in ("O", "o")), None)
    given = sorted(set(labels) - {outside})
    for front in (True, False):
        for separator in SEPARATORS:
            split = {label: _split(label, separator, front=front) for label in given}
            if given and all(split.values()):
                return _scheme({label: pair for label, pair in split.items() if pair}, outside or "O")
    if given and all(label.upper() in LETTERS for label in given):
        return _fault(given, "are letters of a scheme without a kind", "name the kind too, as in B-LOC")
    odd = [label for label in given if _looks_tagged(label)]
    if odd:
        beside = [label for label in given if label not in odd]
        return _fault(
            odd,
            f"are letters with a kind, and {_shown(beside)} are not" if beside else "are not all written alike",
            "write all tags alike: a letter and a kind (B-LOC, or LOC-B), or plain tags without such letters",
        )
    if outside is not None and given and all(len(label) > 1 for label in given):
        return Scheme("IO", {outside: ("O", ""), **{label: ("I", label) for label in given}}, outside)
    return Scheme("plain", dict.fromkeys(labels, ("O", "")), "" if outside and given else "O")


def _scheme(split: Mapping[str, tuple[str, str]], outside: str) -> Scheme | str:
    """The scheme of tags that are split into a letter and a kind."""
    if len({letter.isupper() for letter, _ in split.values()}) > 1:
        return _fault(
            sorted(split), "have letters in both cases", "write all of them alike: B-LOC and I-LOC, or b-LOC and i-LOC"
        )
    letters = {letter.upper() for letter, _ in split.values()}
    name = next((name for name, known in SCHEMES.items() if letters <= known.keys()), None)
    if name is None:
        return _fault(sorted(split), "mix the letters of several schemes", f"use those of one: {', '.join(SCHEMES)}")
    tags = {label: (SCHEMES[name][letter.upper()], kind) for label, (letter, kind) in split.items()}
    if name != "BIO":
        for kind in sorted({kind for _, kind in tags.values()}):
            there = {letter for letter, other in tags.values() if other == kind} - {"S"}
            needed = {"E"} if name == "IOE" else {"B", "E"}
            if there and not needed <= there:
                mine = [label for label, (_, other) in sorted(tags.items()) if other == kind]
                return _fault(mine, f"are all there is of this kind, and none {_does(needed - there)} an entity of the scheme {name}",
                              "give every kind all letters of its scheme")  # fmt: skip
    return Scheme(name, {**tags, outside: ("O", "")}, outside)


def _does(missing: set[str]) -> str:
    return " or ".join({"B": "begins", "E": "ends"}[letter] for letter in sorted(missing))


def _split(label: str, separator: str, *, front: bool) -> tuple[str, str] | None:
    """(letter, kind) of a tag that is written so."""
    letter, kind = (label[:1], label[2:]) if front else (label[-1:], label[:-2])
    between = label[1:2] if front else label[-2:-1]
    return (letter, kind) if between == separator and kind.strip() and letter.upper() in LETTERS else None


def _looks_tagged(label: str) -> bool:
    """Whether a tag is written as a letter and a kind, in any way."""
    ways = ((front, separator) for front in (True, False) for separator in SEPARATORS + OTHER_SEPARATORS)
    return len(label) > 1 and (
        any(_split(label, separator, front=front) for front, separator in ways)
        or (label[0].upper() in LETTERS and label[1:] in SEPARATORS)
    )


def _fault(labels: Sequence[str], what: str, fix: str) -> str:
    return f"tags that cannot be read: {_shown(labels)} {what}, so that entities would be lost; {fix}"


def _shown(labels: Sequence[str]) -> str:
    return ", ".join(map(repr, labels[:5])) + " …" * (len(labels) > 5)
