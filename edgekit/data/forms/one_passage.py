"""One passage a row: its query beside it, and how relevant it is; rows with the same query are one, as rankings are of several passages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from edgekit.data.columns import usable_value
from edgekit.data.form import Form, Write
from edgekit.data.reading import Record

__all__ = ["FORM"]

PARTS = ("query", "passages", "relevance")


def find(values: Mapping[str, object], names: Mapping[str, str]) -> dict[str, str] | None:
    """Where the passages are a text and their relevance a number."""
    found = {part: names[part] for part in PARTS}
    if not set(found.values()) <= set(values):
        return None
    passage, relevance = values[found["passages"]], values[found["relevance"]]
    single = isinstance(passage, str) and usable_value("passages", passage)[1] is not None
    return found if single and usable_value("score", _number(relevance))[1] is None else None


def read(records: Iterable[Record], found: Mapping[str, str], write: Write | None) -> Iterator[Record]:
    """A row of each query, in order of first appearance, with its passages in order; records that cannot be read come first."""
    queries: dict[str, Record] = {}
    for record in records:
        if record.fault is not None or (missing := [name for name in found.values() if name not in record.values]):
            yield record if record.fault is not None else Record(record.line, {}, f"{missing[0]!r} is missing")
            continue
        query, passage, relevance = (record.values[found[part]] for part in PARTS)
        passage, fault = usable_value("text", passage)
        if fault is not None:
            yield Record(record.line, {}, f"{found['passages']!r} {fault}")
            continue
        number, fault = usable_value("score", _number(relevance))
        if fault is not None:
            yield Record(record.line, {}, f"{found['relevance']!r} {fault}")
            continue
        row = queries.setdefault(
            str(query), Record(record.line, {**record.values, "query": query, "passages": [], "relevance": []})
        )
        row.values["passages"].append(passage)
        row.values["relevance"].append(number)
    yield from queries.values()


def _number(value: object) -> object:
    return int(value) if isinstance(value, bool) else value


FORM = Form(
    "one passage a row; rows with the same query are one",
    PARTS,
    find,
    read,
    kinds={"passages": "text", "relevance": "score"},
)
