"""A text with its entities as spans of characters, as tools for annotating write them: words with a tag each.

Words are what stands between white space, as texts are read where the bundle runs; a word belongs to the entity that it has a character of.
The first word of an entity is tagged B-KIND, further ones I-KIND, all others O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeGuard

from edgekit.data.form import Form, Write
from edgekit.data.likely import OFTEN
from edgekit.data.reading import Record

__all__ = ["FORM"]

PARTS = ("tokens", "tags")
NAMES = ("entities", "spans", "label", "labels", "ner", "annotations")
"""What the column of spans is called; another one is known by what it holds."""
KEYS = {
    "start": ("start", "start_offset", "start_char", "begin"),
    "end": ("end", "end_offset", "end_char", "stop"),
    "kind": ("label", "entity", "type", "tag", "entity_group", "name"),
}
"""Part of a span -> its name in an object, the likeliest first."""
SHOWN = 60
Span = tuple[int, int, str]
"""(first character, character after the last, kind)."""


def find(values: Mapping[str, object], names: Mapping[str, str]) -> dict[str, str] | None:
    """Where a row has a text, and a list of spans of it, which may be empty where the column's name says what it is."""
    spans = next((name for name in (names["tags"], *NAMES) if name in values and _spans(values[name]) is not None), None)
    if spans is None:
        spans = next((name for name, value in values.items() if _spans(value) or _of_spacy(value)), None)
    texts = [name for name, value in values.items() if isinstance(value, str) and name != spans]
    likely = (names["tokens"], "text", *OFTEN["text"], *(texts if len(texts) == 1 else ()))
    text = next((name for name in likely if name in texts), None)
    return None if spans is None or text is None else {"tokens": text, "tags": spans}


def read(records: Iterable[Record], found: Mapping[str, str], write: Write | None) -> Iterator[Record]:
    """Each row with its words and their tags."""
    for record in records:
        if record.fault is not None:
            yield record
            continue
        text, spans = record.values.get(found["tokens"]), _spans(record.values.get(found["tags"]))
        if not isinstance(text, str) or not text.strip():
            yield Record(record.line, {}, f"{found['tokens']!r} is no text")
        elif spans is None:
            yield Record(record.line, {}, f"{found['tags']!r} is no list of spans, [start, end, kind] each")
        else:
            words, tags, fault = _tagged(text, sorted(spans))
            values = {**record.values, "tokens": words, "tags": tags}
            yield Record(record.line, values) if fault is None else Record(record.line, {}, f"{found['tags']!r}: {fault}")


def _of_spacy(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict) and set(value) == {"entities"}


def _spans(value: object) -> list[Span] | None:
    """The spans in a value, which spaCy has within {"entities": [...]}; None where it holds something else."""
    if _of_spacy(value):
        value = value["entities"]
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        return None
    found = []
    for one in value:
        parts = one
        if isinstance(one, dict):
            parts = [next((one[name] for name in names if name in one), None) for names in KEYS.values()]
        if not isinstance(parts, list) or len(parts) != len(KEYS) or not isinstance(parts[2], str):
            return None
        if not all(type(place) is int for place in parts[:2]):
            return None
        found.append((parts[0], parts[1], parts[2]))
    return found


def _tagged(text: str, spans: list[Span]) -> tuple[list[str], list[str], str | None]:
    """(words of `text`, their tags, what is wrong with `spans`, which are sorted, or None)."""
    words = [(match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    tags = ["O"] * len(words)
    for start, end, kind in spans:
        said = f"{kind} from {start} to {end}"
        if not 0 <= start < end <= len(text):
            return [], [], f"{said}, and the text has {len(text)} characters"
        inside = [number for number, (begin, stop) in enumerate(words) if begin < end and start < stop]
        if not inside:
            return [], [], f"{said} is white space"
        if any(tags[number] != "O" for number in inside):
            return [], [], f"{said} ({text[start:end][:SHOWN]!r}) shares a word with another entity"
        for number in inside:
            tags[number] = f"{'B' if number == inside[0] else 'I'}-{kind}"
    return [text[begin:stop] for begin, stop in words], tags, None


FORM = Form("entities are spans of characters: words between white space, tagged B-KIND and I-KIND", PARTS, find, read,
            beside=("text", *OFTEN["text"], *NAMES))  # fmt: skip
