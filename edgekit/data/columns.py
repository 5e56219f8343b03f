"""The kinds of columns: how a value is checked, and which columns tell whether two rows are the same."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import SupportsFloat, cast

from edgekit.data.images import image_value
from edgekit.data.reading import LONGEST, Unread
from edgekit.data.sounds import sound_value
from edgekit.errors import BadInput
from edgekit.runtime.jsontypes import JsonValue
from edgekit.runtime.processors.zero_shot_classification import template_fault
from edgekit.runtime.strict_json import strict_json

__all__ = ["INPUTS", "NAMES", "identity", "inputs_of", "usable_value"]

INPUTS = ("text", "text_pair", "tokens", "sentence1", "sentence2", "question", "context", "query", "passages", "image", "audio")
"""Columns that a model reads; the others hold the answer, as `text` does beside `audio`."""
SEPARATORS = set(",;|")
"""What several labels in one text may be separated by."""
NUMBER = re.compile(
    r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*|\s*[+-]?(?:nan|inf|infinity)\s*", re.IGNORECASE
)
"""A number written as text; Python's own reader also takes 1_0 for 10, and the digits of every script."""
SURROGATE = re.compile("[\ud800-\udfff]")
AS_LIST = 'write a JSON list, ["first", "second"], as .jsonl files hold it and a field of a .csv file may'
PYTHON_ITEM = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d{1,18})\s*,?\s*""", re.DOTALL)
NAMES = "write the names of the labels that apply, and not a 0 or 1 for each label that there is"


def usable_value(kind: str, value: object) -> tuple[JsonValue, str | None]:
    """(`value` as the task reads it, what is wrong with it or None). `kind`: the column's name, or another whose values it holds.

    A column that is not known by name holds text. Scores may be written as text and labels as numbers.
    """
    if isinstance(value, Unread):
        return None, f"is {value.kind}, which rows do not hold"
    return _KINDS.get(kind, _text)(value)


def identity(row: Mapping[str, JsonValue]) -> str:
    """The input of a row as one text: its input columns, one after the other."""
    parts = [row[column] for column in inputs_of(row)]
    return " ".join([" ".join(map(str, part)) if isinstance(part, list) else str(part) for part in parts])


def inputs_of(row: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """The columns of a row that a model reads."""
    return ("audio",) if "audio" in row else tuple(column for column in INPUTS if column in row)


def _text(value: object) -> tuple[JsonValue, str | None]:
    if not isinstance(value, str):
        return None, f"is {'null' if value is None else type(value).__name__}, not text"
    if not value.strip():
        return None, "is empty"
    if SURROGATE.search(value):
        return None, "holds half of a surrogate pair, which is not a character"
    return value, None


def _label(value: object) -> tuple[JsonValue, str | None]:
    """A label as text. Numbers are written as a .csv file has them: 1, and 1 for 1.0, which pandas makes of a column with gaps."""
    if isinstance(value, bool):
        return str(value).lower(), None
    if isinstance(value, int):
        return str(value), None
    if isinstance(value, float):
        _, fault = _number(value)
        return (None, fault) if fault else (str(int(value)) if value.is_integer() else repr(value), None)
    return _text(value)


def _labels(value: object) -> tuple[JsonValue, str | None]:
    """The labels that apply, as a list, which may be empty; one label may stand alone."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        if SEPARATORS & set(value):
            return None, f"is one text and may be several labels: {value[:60]!r}; {AS_LIST}"
        label, fault = _label(value)
        return (None, fault) if fault else ([label], None)
    listed, fault = _listed([value] if isinstance(value, int) else value, _name, "labels")
    if isinstance(listed, list) and len(set(map(str, listed))) < len(listed):
        return None, f"holds a label twice; {NAMES}"
    return listed, fault


def _name(value: object) -> tuple[JsonValue, str | None]:
    return (None, f"is a number with decimals; {NAMES}") if isinstance(value, float) else _label(value)


def _listed(value: object, one: Callable[[object], tuple[JsonValue, str | None]], what: str) -> tuple[JsonValue, str | None]:
    """A list of values of which each is as `one` says; a .csv file holds it as JSON."""
    given = value
    if isinstance(value, str):
        try:
            given = strict_json(value.encode("utf-8", "surrogatepass"), what, most=LONGEST)
        except BadInput:
            given = _python_list(value)
        if given is None:
            return None, f"is no JSON list of {what}: {value[:60]!r}; {AS_LIST}"
    if not isinstance(given, list):
        return None, f"is not a list of {what}; {AS_LIST}"
    return _each(given, one, f"one of its {what}")


def _python_list(text: str) -> list[object] | None:
    """A list as Python and numpy write it, which is what pandas puts into a .csv file: of texts in quotes, or of whole numbers; else None."""
    inner = text.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        return None
    inner, at, found = inner[1:-1].strip(), 0, []
    while at < len(inner):
        item = PYTHON_ITEM.match(inner, at)
        if item is None:
            return None
        try:
            found.append(ast.literal_eval(item[1]))
        except (ValueError, SyntaxError):
            return None
        at = item.end()
    return found


def _each(
    values: list[object], one: Callable[[object], tuple[JsonValue, str | None]], name: str
) -> tuple[JsonValue, str | None]:
    """All of `values` as `one` makes them, or the first one's fault; `name`: what each is, for the message."""
    found: list[JsonValue] = []
    for value in values:
        usable, fault = one(value)
        if fault:
            return None, f"holds {name} that {fault}"
        found.append(usable)
    return found, None


def _passages(value: object) -> tuple[JsonValue, str | None]:
    """A list of texts, which is not empty."""
    listed, fault = _listed(value, _text, "passages")
    return listed, "is an empty list" if listed == [] else fault


def _relevance(value: object) -> tuple[JsonValue, str | None]:
    """A list of numbers of which none is negative: 0 for what is not relevant."""
    listed, fault = _listed(value, _number, "numbers")
    if isinstance(listed, list) and any(isinstance(number, float) and number < 0 for number in listed):
        return None, "holds a negative number; 0 is the least relevant"
    return listed, fault


def _tags(value: object) -> tuple[JsonValue, str | None]:
    """A list of labels; a .csv file holds it as JSON, or with white space between them."""
    given = _items(value, "tags")
    return (None, "is not a list of tags") if not given else _each(given, _label, "a tag")


def _words(value: object) -> tuple[JsonValue, str | None]:
    """A list of words; a .csv file holds it as JSON, or with white space between them."""
    given = _items(value, "words")
    return (None, "is not a list of words") if not given else _each(given, _text, "a word")


def _items(value: object, what: str) -> list[object] | None:
    """A list, or what a text says as one; None for anything else."""
    if not isinstance(value, str):
        return value if isinstance(value, list) else None
    if not value.strip().startswith("["):
        return [*value.split()]
    listed, _ = _listed(value, lambda item: (cast("JsonValue", item), None), what)
    return listed if isinstance(listed, list) else [*value.split()]


def _number(value: object) -> tuple[JsonValue, str | None]:
    if isinstance(value, bool) or not isinstance(value, str | SupportsFloat):
        return None, "is not a number"
    if isinstance(value, str) and not NUMBER.fullmatch(value):
        return None, "is not a number"
    number = float(value)
    return (number, None) if math.isfinite(number) else (None, "is not a finite number")


def _template(value: object) -> tuple[JsonValue, str | None]:
    """A sentence with a place for a label."""
    text, fault = _text(value)
    return text, fault or template_fault(str(text))


def _answers(value: object) -> tuple[JsonValue, str | None]:
    """{"text": [...], "answer_start": [...]}, of equal lengths; empty where the context has no answer."""
    expected = "is not {'text': [...], 'answer_start': [...]} of equal lengths"
    if isinstance(value, str):  # in a .csv file
        with suppress(BadInput):
            value = strict_json(value.encode("utf-8", "surrogatepass"), "answers", most=LONGEST)
    if not isinstance(value, dict) or not {"text", "answer_start"} <= set(value):
        return None, expected
    texts, starts = value["text"], value["answer_start"]
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        return None, expected
    if not all(isinstance(text, str) for text in texts) or not all(type(start) is int and start >= 0 for start in starts):
        return None, expected
    return {"text": texts, "answer_start": starts}, None


_KINDS: dict[str, Callable[[object], tuple[JsonValue, str | None]]] = {
    "tokens": _words, "split": _words, "tags": _tags, "label": _label, "score": _number, "answers": _answers,
    "labels": _labels, "template": _template, "candidate": _label, "passages": _passages, "relevance": _relevance, "image": image_value,
    "audio": sound_value,
}  # fmt: skip
