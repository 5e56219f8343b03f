"""Strict TOML: read once at the edge, every fault of a file reported together, with its line and the nearest known name."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from edgekit.errors import BadInput
from edgekit.runtime.files import read_utf8

__all__ = ["Strict", "Whole", "as_toml", "discriminator", "load_toml", "parse", "toml_string"]

MAX_BYTES = 500_000  # a recipe or target is a page of text; anything larger is a mistake or an attack
MARK = "\ufeff"
"""What some editors write before a text's first character; TOML's own parser knows no such mark."""
DEEPEST, LONGEST_NUMBER = 32, 100
"""Lists and tables within one another, and names of a dotted key, at most: tomllib nests calls, and takes the square of a dotted key's
length. Digits of a number, at most."""
MOST_FAULTS = 40
ASIDE = re.compile(
    r'''"""(?:[^\\]|\\[\s\S])*?(?:"""|\\?\Z)|\'\'\'[\s\S]*?(?:\'\'\'|\Z)|"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?|#[^\n]*'''
)
"""Strings, whole or not ended, and comments: what brackets and dots mean nothing in."""


class Strict(BaseModel):
    """A frozen record that refuses unknown keys and does not coerce types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


M = TypeVar("M", bound=Strict)


def _whole(value: object) -> object:
    if type(value) in (bool, float):
        raise PydanticCustomError("whole", "input should be a whole number")
    return value


Whole = BeforeValidator(_whole)
"""Marks a list of numbers: true is 1 and 1.0 is 1 to Python, and so to pydantic, where a value is one of several that are listed."""


def discriminator(field: str, *, default: str) -> Discriminator:
    """Tells the records of a union apart by the value of `field`, which is `default` where a table does not say it."""

    def tag(value: object) -> object:
        return value.get(field, default) if isinstance(value, dict) else getattr(value, field, None)

    tag.__name__ = field  # how pydantic's errors call it
    return Discriminator(tag)


def load_toml(path: Path, model: type[M]) -> M:
    """Read `path` into `model`.

    Raises:
        BadInput: the file is missing, no plain file, too large, not UTF-8, not TOML, or does not fit the model (all faults at once).
    """
    text = read_utf8(path, MAX_BYTES, fix="check the path; `edgekit ls` shows what ships with edgekit").removeprefix(MARK)
    try:
        _check_structure(text)
        document = tomllib.loads(text)
        _check_values(document)
    except (ValueError, RecursionError) as fault:
        raise BadInput(f"not valid TOML: {fault}", where=str(path)) from None
    return parse(document, model, where=str(path), text=text)


def as_toml(document: Mapping[str, Any], path: str = "") -> str:
    """`document`, which JSON could hold, as TOML: plain values first, then its tables, then its lists of tables. None is left out."""
    given = {name: value for name, value in document.items() if value is not None}
    tables = [name for name, value in given.items() if isinstance(value, Mapping)]
    of_tables = [
        name
        for name, value in given.items()
        if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value)
    ]
    lines = [f"{_key(name)} = {_inline(value)}\n" for name, value in given.items() if name not in {*tables, *of_tables}]
    lines += [f"\n[{path}{_key(name)}]\n{as_toml(given[name], f'{path}{_key(name)}.')}" for name in tables]
    lines += [f"\n[[{path}{_key(name)}]]\n{as_toml(one, f'{path}{_key(name)}.')}" for name in of_tables for one in given[name]]
    return "".join(lines)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_string(name)


def _inline(value: object) -> str:
    if isinstance(value, str):
        return toml_string(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_inline(one)}" for name, one in value.items() if one is not None) + " }"
    return json.dumps(value)


def toml_string(text: str) -> str:
    """A TOML string: JSON's escapes are TOML's, but for those of control characters that JSON leaves as they are."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _check_structure(text: str) -> None:
    """ValueError for what takes tomllib more than linear time, or more calls within one another than Python allows; told before it.

    Of what no text holds too: tomllib calls it an invalid statement.
    """
    if "\0" in text:
        raise ValueError(
            f"line {text[: text.index(chr(0))].count(chr(10)) + 1} holds a NUL, so it is no text; save it as UTF-8"
        )
    bare = ASIDE.sub("", text)
    steps = (1 if bracket in "[{" else -1 for bracket in re.findall(r"[\[\]{}]", bare))
    if max(accumulate(steps), default=0) > DEEPEST:
        raise ValueError(f"lists and tables are nested deeper than {DEEPEST}")
    if max(part.count(".") for part in re.split(r"[\[\]{}=,\n]", bare)) >= DEEPEST:
        raise ValueError(f"a dotted key of more than {DEEPEST} names")
    if re.search(rf"[0-9_]{{{LONGEST_NUMBER + 1}}}", bare):
        raise ValueError(f"a number of more than {LONGEST_NUMBER} digits")


def _check_values(document: dict[str, Any]) -> None:
    """ValueError for what TOML's own parser lets through: integers beyond 64 bits, and NUL, which no path or name may hold."""
    left: list[tuple[str, Any]] = list(document.items())
    while left:
        key, value = left.pop()
        if "\0" in key or (isinstance(value, str) and "\0" in value):
            raise ValueError(f"{key!r} holds a NUL")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"{key!r} is an integer beyond 64 bits")
        left += value.items() if isinstance(value, dict) else ((key, item) for item in value) if isinstance(value, list) else ()


def parse(document: Mapping[str, object], model: type[M], *, where: str, text: str = "") -> M:
    """Validate `document` against `model`; `text` is its source, used to name lines.

    Raises:
        BadInput: with one line for each fault.
    """
    try:
        return model.model_validate(document)
    except ValidationError as fault:
        lines = _lines_of(text)
        faults = [_describe(error, model, lines) for error in fault.errors(include_url=False)[:MOST_FAULTS]]
        count = fault.error_count()
    more = [f"and {count - len(faults):,} more"] if count > len(faults) else []
    raise BadInput(
        f"{count:,} fault{'s' * (count > 1)} found", where=where, faults=[*faults, *more], see="faults-in-a-recipe-or-a-target"
    )


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


@dataclass(frozen=True)
class _Lines:
    """Numbers, from 1, of the lines of a file on which names stand."""

    heads: Mapping[str, list[int]]
    """First name of a table's header -> the lines of such headers."""
    names: Mapping[str, list[int]]
    """Key, or any name of a header -> its lines."""


def _describe(error: ErrorDetails, model: type[BaseModel], lines: _Lines) -> str:
    """One readable line for one pydantic error."""
    place = _place_of(error["loc"], model)
    line = _line_of(place.path, lines)
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
    if error["type"] == "model_type":
        name = next((part for part in reversed(place.path) if isinstance(part, str)), "")
        several = f", once: write [{name}] for [[{name}]]" if isinstance(error["input"], list) else ""
        return f"{prefix}: a table is needed here{several}"
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


def _lines_of(text: str) -> _Lines:
    """Where the keys and headers of `text` are, in one pass over its lines."""
    heads: dict[str, list[int]] = {}
    names: dict[str, list[int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[++([^\]=]*)\]", line):
            parts = [part.strip(" \t\"'") for part in header[1].split(".")]
            heads.setdefault(parts[0], []).append(number)
            for part in dict.fromkeys(parts):
                names.setdefault(part, []).append(number)
        elif key := re.match(r"""\s*(?:"([^"]*)"|'([^']*)'|([^\s="'.]+))\s*[=.]""", line):
            names.setdefault(next(filter(None, key.groups()), ""), []).append(number)
    return _Lines(heads, names)


def _line_of(path: list[str], lines: _Lines) -> int | None:
    """The line on which the last named key of `path` stands, inside its table, or None when it is not to be found."""
    names = [part for part in path if not part.isdigit()]
    if not names:
        return None
    start = 0
    if len(path) > 1:
        index = next((int(part) for part in path if part.isdigit()), 0)
        heads = lines.heads.get(path[0], [])
        start = heads[index] if index < len(heads) else 0
    there = lines.names.get(names[-1], [])
    at = bisect_left(there, start)
    return there[at] if at < len(there) else None
