"""Strict TOML: read once at the edge, every fault of a file reported together, with its line and the nearest known name."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Discriminator, ValidationError
from pydantic_core import ErrorDetails

from edgekit.errors import BadInput

__all__ = ["Strict", "discriminator", "load_toml", "parse"]

MAX_BYTES = 1_000_000  # a recipe or target is a page of text; anything larger is a mistake or an attack


class Strict(BaseModel):
    """A frozen record that refuses unknown keys and does not coerce types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


M = TypeVar("M", bound=Strict)


def discriminator(field: str, *, default: str) -> Discriminator:
    """Tells the records of a union apart by the value of `field`, which is `default` where a table does not say it."""

    def tag(value: object) -> object:
        return value.get(field, default) if isinstance(value, dict) else getattr(value, field, None)

    tag.__name__ = field  # how pydantic's errors call it
    return Discriminator(tag)


def load_toml(path: Path, model: type[M]) -> M:
    """Read `path` into `model`.

    Raises:
        BadInput: the file is missing, too large, not UTF-8, not TOML, or does not fit the model (all faults at once).
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"larger than {MAX_BYTES:,} bytes, which no configuration is", where=str(path))
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(
            "no such file", where=str(path), fix="check the path; `edgekit ls` shows what ships with edgekit"
        ) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise BadInput(f"cannot be read: {fault}", where=str(path)) from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise BadInput(f"not valid TOML: {fault}", where=str(path)) from None
    return parse(document, model, where=str(path), text=text)


def parse(document: Mapping[str, object], model: type[M], *, where: str, text: str = "") -> M:
    """Validate `document` against `model`; `text` is its source, used to name lines.

    Raises:
        BadInput: with one line for each fault.
    """
    try:
        return model.model_validate(document)
    except ValidationError as fault:
        faults = [_describe(error, model, text) for error in fault.errors(include_url=False)]
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    raise BadInput(f"{count} found", where=where, faults=faults)


@dataclass(frozen=True)
class _Place:
    """Where in a file a fault is."""

    path: list[str]
    """Keys and list indices as the file has them; of a list's entry the union tag too, such as "compress", "0", "distill", "epochs"."""
    records: list[type[BaseModel]]
    """Records that the last key may belong to: several only where no tag has told them apart."""
    union: list[type[BaseModel]]
    """All records of the discriminated union that those are taken from; empty where there is none."""
    tag: str
    """What the file says there, which told `records` from the rest of `union`; "" where there is none."""


def _describe(error: ErrorDetails, model: type[BaseModel], text: str) -> str:
    """One readable line for one pydantic error."""
    place = _place_of(error["loc"], model)
    line = _line_of(place.path, text)
    where = ".".join(place.path) or "the whole file"
    prefix = f"line {line}, {where}" if line else where
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return f"{prefix}: {_unknown_key(place)}"
    if error["type"] == "missing":
        return f"{prefix}: required, but missing"
    if error["type"] == "union_tag_invalid":
        known = re.findall(r"'([^']+)'", context["expected_tags"])
        close = difflib.get_close_matches(str(context["tag"]), known, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"{prefix}: unknown {_bare(context['discriminator'])} {context['tag']!r}{hint} (known: {', '.join(known)})"
    if error["type"] == "union_tag_not_found":
        return f"{prefix}: a table with a key `{_bare(context['discriminator'])}` is needed here"
    message = error["msg"].removeprefix("Value error, ")
    given = error["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{prefix}: {message[0].lower()}{message[1:]}{shown}"


def _unknown_key(place: _Place) -> str:
    """What is wrong with the last key of `place`: it belongs to another record of the union, is misspelt, or is unknown."""
    key = place.path[-1]
    field = _tag_field(place.union)
    owners = [record for record in place.union if key in record.model_fields]
    if field and owners:
        tags = [f'"{tag}"' for record in owners for tag in _literals(record, field)]
        either = " or ".join(filter(None, [", ".join(tags[:-1]), tags[-1]]))
        return f'goes with {field} = {either}, not with "{place.tag}"; leave it out'
    known = sorted({name for record in place.records for name in record.model_fields})
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
    return f"unknown key; {hint}"


def _place_of(location: tuple[int | str, ...], model: type[BaseModel]) -> _Place:
    """Follow pydantic's `location` through nested models, lists and discriminated unions."""
    path: list[str] = []
    records: list[type[BaseModel]] = [model]
    union: list[type[BaseModel]] = []
    tag = ""
    for part in location:
        inner = [
            found
            for record in records
            if isinstance(part, str) and part in record.model_fields
            for found in _records_in(record.model_fields[part].annotation)
        ]
        field = _tag_field(records)
        tagged = [record for record in records if field and part in _literals(record, field)]
        if tagged and not inner:
            records, union, tag = tagged, records, str(part)
            if path and path[-1].isdigit():
                path.append(str(part))
            continue
        if inner:
            records, union, tag = inner, [], ""
        path.append(str(part))
    return _Place(path, records, union, tag)


def _records_in(annotation: object) -> list[type[BaseModel]]:
    """The models that `annotation` names, each once, inside lists, unions and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return list(dict.fromkeys(found for inner in getattr(annotation, "__args__", ()) for found in _records_in(inner)))


def _tag_field(records: list[type[BaseModel]]) -> str | None:
    """The field whose literal values tell the members `records` of a union apart; None where there is none, or one record."""
    for name in records[0].model_fields if len(records) > 1 else ():
        values = [_literals(record, name) for record in records]
        if all(values) and sum(map(len, values)) == len(set(chain(*values))):
            return name
    return None


def _literals(record: type[BaseModel], field: str) -> list[str]:
    """The strings that `field` may be where its type is a Literal; else none."""
    annotation = record.model_fields[field].annotation if field in record.model_fields else None
    return [value for value in get_args(annotation) if isinstance(value, str)] if get_origin(annotation) is Literal else []


def _bare(discriminator: str) -> str:
    """A discriminator's field name as pydantic writes it: "'method'" of a field, "format()" of a function."""
    return discriminator.strip("'()")


def _line_of(path: list[str], text: str) -> int | None:
    """The line on which the last named key of `path` stands, inside its table, or None when it is not to be found."""
    names = [part for part in path if not part.isdigit()]
    lines = text.splitlines()
    if not names:
        return None
    start = 0
    if len(path) > 1:
        index = next((int(part) for part in path if part.isdigit()), 0)
        heads = [n for n, line in enumerate(lines) if re.match(rf"\s*\[+\s*{re.escape(path[0])}\b", line)]
        if index < len(heads):
            start = heads[index]
    for number, line in enumerate(lines[start:], start + 1):
        if re.match(rf"\s*(?:\[+\s*(?:[\w-]+\.)*)?\"?{re.escape(names[-1])}\"?\s*(?:=|\]|\.)", line):
            return number
    return None
