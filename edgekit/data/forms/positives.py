"""A query with passages that answer it and passages that do not, as retrievers and cross-encoders are trained on: relevance 1 and 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from edgekit.data.columns import usable_value
from edgekit.data.form import Form, Write
from edgekit.data.reading import Record

__all__ = ["FORM"]

QUERY = ("query", "anchor", "question")
POSITIVE = ("positive", "positives", "pos", "positive_passages", "positive_ctxs", "answer")
NEGATIVE = ("negative", "negatives", "neg", "negative_passages", "hard_negatives", "hard_negative_ctxs", "negative_ctxs")
TEXT = ("text", "content", "passage", "contents")
"""What a passage that is an object calls its text."""


def find(values: Mapping[str, object], names: Mapping[str, str]) -> dict[str, str] | None:
    """Where a row has a query, passages that answer it, and passages that do not."""
    if names["passages"] in values and names["relevance"] in values:
        return None
    kinds = {"query": (names["query"], *QUERY), "positive": POSITIVE, "negative": NEGATIVE}
    found = {part: next((name for name in known if name in values), None) for part, known in kinds.items()}
    return {part: name for part, name in found.items() if name is not None} if all(found.values()) else None


def read(records: Iterable[Record], found: Mapping[str, str], write: Write | None) -> Iterator[Record]:
    """A row of each row."""
    for record in records:
        if record.fault is not None:
            yield record
            continue
        positive, negative = (_texts(record.values.get(found[part])) for part in ("positive", "negative"))
        if positive is None or negative is None:
            name = found["positive" if positive is None else "negative"]
            yield Record(record.line, {}, f"{name!r} is neither a text nor a list of texts")
            continue
        passages: list[object] = [*positive, *negative]
        relevance = [1] * len(positive) + [0] * len(negative)
        query = record.values.get(found["query"])
        yield Record(
            record.line,
            {**record.values, "query": query, "passages": passages, "relevance": relevance},
            None,
            record.duplicates,
        )


def _texts(value: object) -> list[object] | None:
    """One text or several, plain or in objects."""
    if isinstance(value, str):
        listed, fault = usable_value("passages", value)
        return [value] if fault is not None or not isinstance(listed, list) else [*listed]
    if not isinstance(value, list):
        return None
    texts = [next((item[name] for name in TEXT if name in item), None) if isinstance(item, dict) else item for item in value]
    return texts if all(isinstance(text, str) for text in texts) else None


FORM = Form(
    "passages that answer the query have relevance 1, the others 0",
    ("query", "passages", "relevance"),
    find,
    read,
)
