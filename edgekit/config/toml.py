"""Strict TOML: read once at the edge, every fault of a file reported together, with its line and the nearest known name."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.errors import BadInput

__all__ = ["Strict", "load_toml", "parse"]

MAX_BYTES = 1_000_000  # a recipe or target is a page of text; anything larger is a mistake or an attack


class Strict(BaseModel):
    """A frozen record that refuses unknown keys and does not coerce types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


M = TypeVar("M", bound=Strict)


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


def parse(document: dict[str, Any], model: type[M], *, where: str, text: str = "") -> M:
    """Validate `document` against `model`; `text` is its source, used to name lines.

    Raises:
        BadInput: with one line for each fault.
    """
    try:
        return model.model_validate(document)
    except ValidationError as fault:
        faults = [_describe(dict(error), model, text) for error in fault.errors(include_url=False)]
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    raise BadInput(f"{count} found", where=where, faults=faults)


def _describe(error: dict[str, Any], model: type[BaseModel], text: str) -> str:
    """One readable line for one pydantic error."""
    path = [str(part) for part in error["loc"]]
    line = _line_of(path, text)
    place = ".".join(path) or "the whole file"
    prefix = f"line {line}, {place}" if line else place
    if error["type"] == "extra_forbidden":
        known = _known_names(error["loc"][:-1], model)
        close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"
        return f"{prefix}: unknown key; {hint}"
    if error["type"] == "missing":
        return f"{prefix}: required, but missing"
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        known = re.findall(r"'([^']+)'", context["expected_tags"])
        close = difflib.get_close_matches(str(context["tag"]), known, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"{prefix}: unknown {context['discriminator']} {context['tag']!r}{hint} (known: {', '.join(known)})"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{prefix}: {message[0].lower()}{message[1:]}{shown}"


def _known_names(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """Field names allowed at `location`, followed through nested models, lists and tagged unions."""
    candidates: list[Any] = [model]
    for part in location:
        found: list[Any] = []
        for kind in candidates:
            if isinstance(part, str) and part in kind.model_fields:
                found += _models_in(kind.model_fields[part].annotation)
        tagged = [kind for kind in candidates if _tag_of(kind) == part]
        candidates = found or tagged or candidates
    return sorted({name for kind in candidates for name in kind.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for inner in getattr(annotation, "__args__", ()) for kind in _models_in(inner)]


def _tag_of(kind: type[BaseModel]) -> Any:
    field = kind.model_fields.get("method")
    return getattr(field.annotation, "__args__", (None,))[0] if field else None


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
