"""One word a row with its tag, and a column that numbers the sentences, in every row or in a sentence's first: rows of a sentence are one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from edgekit.data.columns import usable_value
from edgekit.data.form import Form, Write
from edgekit.data.reading import Record

__all__ = ["FORM"]

SENTENCE = {"sentence#", "sentenceid", "sentid", "sentenceidx", "sentenceno", "sentencenumber", "sentencenum", "sentnum"}
"""What the column of numbers is called, but for case, spaces and underscores."""
PARTS = ("tokens", "tags")


def find(values: Mapping[str, object], names: Mapping[str, str]) -> dict[str, str] | None:
    """Where a row has one word, one tag, and the number of a sentence."""
    found = {part: names[part] for part in PARTS}
    number = next((name for name in values if re.sub(r"[\s_-]+", "", name.casefold()) in SENTENCE), None)
    if number is None or not all(_single(values.get(name)) for name in found.values()):
        return None
    return {**found, "number": number}


def read(records: Iterable[Record], found: Mapping[str, str], write: Write | None) -> Iterator[Record]:
    """A row of each sentence; records that cannot be read come before the sentence that they are in."""
    sentence: Record | None = None
    last: object = None
    for record in records:
        fault = record.fault or _fault(record.values, found)
        if fault is not None:
            yield Record(record.line, {}, fault)
            continue
        number = record.values.get(found["number"])
        if sentence is None or (number not in (None, "") and number != last):
            if sentence is not None:
                yield sentence
            sentence = Record(record.line, {**record.values, "tokens": [], "tags": []})
            last = number
        for part in PARTS:
            sentence.values[part].append(record.values[found[part]])
    if sentence is not None:
        yield sentence


def _single(value: object) -> bool:
    """Whether it is one word or label, and no list of them."""
    return isinstance(value, int) or (isinstance(value, str) and len(value.split()) == 1 and not value.startswith("["))


def _fault(values: Mapping[str, object], found: Mapping[str, str]) -> str | None:
    for part, kind in (("tokens", "text"), ("tags", "label")):
        if found[part] not in values:
            return f"{found[part]!r} is missing"
        if (fault := usable_value(kind, values[found[part]])[1]) is not None:
            return f"{found[part]!r} {fault}"
    return None


FORM = Form("one word a row; rows of a sentence are one", PARTS, find, read, kinds={"tokens": "text", "tags": "label"})
