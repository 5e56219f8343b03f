"""Answers of questions as texts: one in a column of its own, perhaps with the character where it begins, or a list of them.

A text without its place is taken where it first stands in the context, as SQuAD's scorer compares texts and no places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from edgekit.data.answers import begin_of
from edgekit.data.columns import usable_value
from edgekit.data.form import Form, Write
from edgekit.data.reading import Record

__all__ = ["FORM"]

PARTS = ("question", "context", "answers")
OFTEN = {
    "question": ("q", "query"),
    "context": ("passage", "paragraph", "document"),
    "answers": ("answer", "answer_text", "answer.text", "answers.text"),
}
"""Part -> what it is called where it does not go by its own name."""
STARTS = ("answer_start", "answers_start", "answer.start", "answers.answer_start", "answer_begin", "start")
"""What the column is called of the characters where answers begin."""
SHOWN = 40
"""Characters of a text in a message."""


def find(values: Mapping[str, object], names: Mapping[str, str]) -> dict[str, str] | None:
    """The columns of questions, contexts and answers, and that of their places where there is one."""
    found = {
        part: name
        for part in PARTS
        for name in [next((name for name in (names[part], *OFTEN[part]) if name in values), None)]
        if name is not None
    }
    if len(found) < len(PARTS) or _texts(values[found["answers"]]) is None:
        return None
    return {**found, **{name: name for name in STARTS if name in values}}


def read(records: Iterable[Record], found: Mapping[str, str], write: Write | None) -> Iterator[Record]:
    """Each row with its answers as SQuAD has them: {"text": [...], "answer_start": [...]}."""
    for record in records:
        if record.fault is not None or (missing := [found[part] for part in PARTS if found[part] not in record.values]):
            yield record if record.fault is not None else Record(record.line, {}, f"{missing[0]!r} is missing")
            continue
        question, context, given = (record.values[found[part]] for part in PARTS)
        answers, fault = _placed(
            given, next((record.values[name] for name in STARTS if name in record.values), None), context, found["answers"]
        )
        values = {**record.values, "question": question, "context": context, "answers": answers}
        yield Record(record.line, values, fault) if fault is None else Record(record.line, {}, fault)


def _texts(value: object) -> list[tuple[str, int | None]] | None:
    """The answers in a value, each with its place where that says it; None where it holds something else."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return None if value.lstrip().startswith(("{", "[")) else [(value, None)]
    if not isinstance(value, list):
        return None
    found: list[tuple[str, int | None]] = []
    for one in value:
        text, start = (one.get("text"), one.get("answer_start")) if isinstance(one, dict) else (one, None)
        if not isinstance(text, str) or not (start is None or type(start) is int):
            return None
        found.append((text, start))
    return found


def _placed(value: object, starts: object, context: object, name: str) -> tuple[dict[str, list[object]], str | None]:
    """(answers as SQuAD has them, what is wrong or None)."""
    texts = _texts(value)
    if texts is None:
        return {}, f"{name!r} is neither a text nor a list of texts"
    texts = [(text, start) for text, start in texts if text.strip()]
    if texts and starts not in (None, ""):
        numbers = [usable_value("score", start)[0] for start in (starts if isinstance(starts, list) else [starts])]
        whole = [int(number) for number in numbers if isinstance(number, float) and number.is_integer()]
        if len(whole) != len(texts) or len(numbers) != len(texts):
            return {}, f"{name!r} has {len(texts)} answers, and where they begin is {str(starts)[:SHOWN]!r}"
        texts = [(text, start) for (text, _), start in zip(texts, whole, strict=True) if start >= 0]
    placed: dict[str, list[object]] = {"text": [], "answer_start": []}
    for text, start in texts:
        at = begin_of(text, str(context)) if start is None else start
        if at is None:
            return {}, f"{name!r}: {text[:SHOWN]!r} is nowhere in the context"
        placed["text"].append(text)
        placed["answer_start"].append(at)
    return placed, None


FORM = Form(
    "answers are texts, each at the character that the row says, or where it first stands in the context",
    PARTS,
    find,
    read,
    beside=(*STARTS, *(name for names in OFTEN.values() for name in names)),
)
