"""SQuAD's own JSON (1.1 and 2.0): articles of paragraphs of questions, each question a record with its `title` and `context`; also a list of
articles, one article, or a list of paragraphs alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.data.formats.json_document import read_document
from edgekit.data.reading import Format, Record
from edgekit.errors import BadInput

__all__ = ["FORMAT", "articles_of"]


def records(path: Path, packing: str) -> Iterator[Record]:
    """Answers as rows have them: {"text": [...], "answer_start": [...]}, empty where there is none. A record's number is its question's."""
    document = read_document(path, packing)
    number = 0
    for article in articles_of(document) or _listed(document, "data", path):
        for paragraph in _listed(article, "paragraphs", path):
            for question in _listed(paragraph, "qas", path):
                number += 1
                yield _record(number, article, paragraph, question)


def articles_of(document: Any) -> list[Any] | None:
    """The articles of a document; None where it is no such one."""
    if isinstance(document, dict) and "paragraphs" in document:
        document = [document]
    elif isinstance(document, dict):
        document = document.get("data")
    if not isinstance(document, list) or not document or not isinstance(document[0], dict):
        return None
    if isinstance(document[0].get("qas"), list):
        return [{"paragraphs": document}]
    return document if "paragraphs" in document[0] else None


def _listed(value: Any, name: str, path: Path) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise BadInput(
            f"no list `{name}` where SQuAD's files have it",
            where=str(path),
            fix='leave format = "squad" out, or name SQuAD\'s file',
        )
    return found


def _record(number: int, article: Any, paragraph: Any, question: Any) -> Record:
    answers = question.get("answers") if isinstance(question, dict) else None
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        return Record(number, {}, "a question without a list of answers")
    values = {name: question[name] for name in ("id", "question") if name in question}
    values |= {name: of[name] for of, name in ((article, "title"), (paragraph, "context")) if name in of}
    starts = {
        "text": [answer.get("text") for answer in answers],
        "answer_start": [answer.get("answer_start") for answer in answers],
    }
    return Record(number, {**values, "answers": starts})


FORMAT = Format((".squad",), records)
