"""Of which form an answer must be, as clients ask: OpenAI's `response_format`, and `structured_outputs` and `guided_...` of vLLM's clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["FORMS", "Form", "parse_form"]

GUIDED = {
    "guided_json": "json_schema",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
}
"""Fields of vLLM's clients -> settings of `parse_sampling`."""
STRUCTURED = {"json": "json_schema", "regex": "regex", "choice": "choice", "grammar": "grammar"}
"""Likewise, within `structured_outputs`."""
FORMS = ("response_format", "structured_outputs", *GUIDED)
OBJECT: dict[str, object] = {"type": "object"}


class Form(NamedTuple):
    """A form that was asked for."""

    field: str
    """The field of the request."""
    settings: dict[str, object]
    """For `parse_sampling`."""


def parse_form(document: Mapping[str, object], faults: list[str]) -> Form | None:
    """The form that a request without nulls asks for; None for any text, or where it cannot be used: each fault is added to `faults`."""
    found: list[Form] = []
    if "response_format" in document:
        found += _response_format(document["response_format"], faults)
    if "structured_outputs" in document:
        found += _structured(document["structured_outputs"], faults)
    found += [Form(field, {GUIDED[field]: document[field]}) for field in GUIDED if field in document]
    if len(found) > 1:
        faults.append(f"{' and '.join(form.field for form in found)}: an answer has one form; send one of them")
    return found[0] if len(found) == 1 else None


def _response_format(given: object, faults: list[str]) -> list[Form]:
    where = "response_format"
    kind = given.get("type") if isinstance(given, dict) else None
    if not isinstance(given, dict) or kind not in ("text", "json_object", "json_schema"):
        faults.append(f"{where}: type {str(kind)[:40]!r} is not supported, only text, json_object and json_schema")
        return []
    if unknown := sorted({*given} - {"type", *(("json_schema",) if kind == "json_schema" else ())}):
        faults.append(f"{where}: {unknown[0][:40]!r} is no part of {kind}")
        return []
    if kind == "text":
        return []
    if kind == "json_object":
        return [Form(where, {"json_schema": OBJECT})]
    asked = given.get("json_schema")
    if not isinstance(asked, dict) or not isinstance(asked.get("schema"), dict):
        faults.append(f"{where}.json_schema: not an object with a schema; send {{'name': ..., 'schema': {{...}}}}")
        return []
    if unknown := sorted({*asked} - {"name", "description", "schema", "strict"}):
        faults.append(f"{where}.json_schema: {unknown[0][:40]!r} is unknown")
        return []
    return [Form(where, {"json_schema": asked["schema"]})]


def _structured(given: object, faults: list[str]) -> list[Form]:
    where = "structured_outputs"
    if not isinstance(given, dict):
        faults.append(f"{where}: not an object")
        return []
    given = {name: value for name, value in given.items() if value is not None}
    if unknown := sorted({*given} - {*STRUCTURED, "json_object"}):
        faults.append(f"{where}: {unknown[0][:40]!r} is not supported, only {', '.join(STRUCTURED)} and json_object")
        return []
    found = [Form(f"{where}.{name}", {STRUCTURED[name]: given[name]}) for name in STRUCTURED if name in given]
    if (asked := given.get("json_object", False)) is True:
        found.append(Form(f"{where}.json_object", {"json_schema": OBJECT}))
    elif asked is not False:
        faults.append(f"{where}.json_object: not true or false")
    return found
