"""Arguments of calls as Gemma's models write them, `{city:<escape>Oslo<escape>,days:3}`: a grammar of a schema, and JSON out of what comes.

Names of an object are in the order of jinja2's `dictsort`, which the templates write them in; a text holds no `<`, so that its end is certain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from edgekit.runtime.errors import BadInput

__all__ = ["GemmaScanner", "argument_rules"]

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SAYS_NOTHING = {"title", "description", "default", "examples", "nullable"}
KNOWN = {
    "object": {"properties", "required", "additionalProperties"}, "array": {"items"}, "string": set[str](), "number": set[str](),
    "integer": set[str](), "boolean": set[str](), "null": set[str](),
}  # fmt: skip
PLAIN = {
    "number": r"/-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/", "integer": "/-?(0|[1-9][0-9]*)/", "boolean": '("true" | "false")',
    "null": '"null"',
}  # fmt: skip


def argument_rules(schema: Mapping[str, object], name: str, quote: str, where: str) -> list[str]:
    """Lark's rules of the values of `schema`, the first of them called `name`; `quote`: Lark's words for what a text begins and ends with.

    Raises:
        BadInput: a keyword that these rules cannot keep.
    """
    lines: list[str] = []
    _value(schema, name, quote, where, lines)
    return lines


def _value(schema: object, name: str, quote: str, where: str, lines: list[str]) -> None:
    if not isinstance(schema, Mapping):
        raise _kept(where, str(schema))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        if not isinstance(values, list) or not values or any(isinstance(one, list | dict) for one in values):
            raise _kept(where, "enum of lists or objects")
        if {*schema} - SAYS_NOTHING - {"enum", "const", "type"}:
            raise _kept(where, sorted({*schema} - SAYS_NOTHING)[0])
        words = [
            f"({quote} {json.dumps(one, ensure_ascii=False)} {quote})" if isinstance(one, str) else json.dumps(json.dumps(one))
            for one in values
        ]
        if any(isinstance(one, str) and "<" in one for one in values):
            raise _kept(where, "enum with <")
        lines.append(f"{name}: {' | '.join(words)}")
        return
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in KNOWN:
        raise _kept(where, f"type {kind!r}" if kind is not None else "a value without a type")
    if unknown := sorted({*schema} - SAYS_NOTHING - {"type"} - KNOWN[kind]):
        raise _kept(where, unknown[0])
    if kind == "string":
        lines.append(f"{name}: {quote} /[^<]+/ {quote} | {quote} {quote}")
    elif kind == "array":
        _value(schema.get("items"), f"{name}_i", quote, where, lines)
        lines.append(f'{name}: "[" "]" | "[" {name}_i ("," {name}_i)* "]"')
    elif kind == "object":
        _object(schema, name, quote, where, lines)
    else:
        lines.append(f"{name}: {PLAIN[kind]}")


def _object(schema: Mapping[str, object], name: str, quote: str, where: str, lines: list[str]) -> None:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, Mapping) or not isinstance(required, list) or {*map(str, required)} - {*properties}:
        raise _kept(where, "required names that are no properties")
    keys = sorted(properties, key=str.lower)
    for number, key in enumerate(keys):
        if KEY.fullmatch(key) is None:
            raise _kept(where, f"the name {key!r}")
        _value(properties[key], f"{name}_{number}", quote, where, lines)
        one, further = f'"{key}:" {name}_{number} {name}_c{number + 1}', key not in required
        lines.append(f"{name}_f{number}: {one}" + (f" | {name}_f{number + 1}" if further else ""))
        lines.append(f'{name}_c{number}: "," {one}' + (f" | {name}_c{number + 1}" if further else ""))
    lines += [f"{name}_f{len(keys)}: ", f"{name}_c{len(keys)}: ", f'{name}: "{{" {name}_f0 "}}"']


def _kept(where: str, what: str) -> BadInput:
    return BadInput(
        f"{where}: the form of Gemma's calls cannot be held to {what}", where="tools",
        fix="describe arguments by type, properties, required, items and enum",
    )  # fmt: skip


class GemmaScanner:
    """Makes JSON of arguments as they come."""

    def __init__(self, quote: str) -> None:
        self._quote = quote
        self._held = ""
        self._in_text = False
        self._stack: list[str] = []
        self._key = ""
        self.done = False

    def push(self, text: str) -> tuple[str, str]:
        """(JSON that is complete with `text`, what comes after the arguments)."""
        made, self._held = [], self._held + text
        while self._held and not self.done:
            if self._held.startswith(self._quote):
                made.append('"')
                self._in_text, self._held = not self._in_text, self._held[len(self._quote) :]
            elif self._quote.startswith(self._held):
                break
            else:
                letter, self._held = self._held[0], self._held[1:]
                made.append(json.dumps(letter, ensure_ascii=False)[1:-1] if self._in_text else self._outside(letter))
        rest = self._held if self.done else ""
        return "".join(made), rest

    def _outside(self, letter: str) -> str:
        if letter in "{[":
            self._stack.append(letter)
            self._key = "" if letter == "{" else "\0"
            return letter
        if letter in "}]":
            self._stack.pop()
            self.done, self._key = not self._stack, "\0"
            return letter
        if letter == ",":
            self._key = "" if self._stack[-1] == "{" else "\0"
            return ", "
        if self._key == "\0":  # within a value
            return letter
        if letter == ":":
            key, self._key = self._key, "\0"
            return f'"{key}": '
        self._key += letter
        return ""
