"""The form that an answer must have: a schema, an expression, a grammar or choices, as a client sends them, compiled for a tokenizer."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from edgekit.runtime.generate.guide import Guides
from edgekit.runtime.generate.sample import parse_sampling
from edgekit.runtime.strict_json import read_json
from tests.fuzz.door import Door, Files
from tests.runtime.generate.tiny_tokenizers import KINDS

__all__ = ["DOOR"]

NAME = "form.json"
TOKENS = 6
"""That are taken of an answer."""


@cache
def guides() -> Guides:
    """One for all: its child process compiles."""
    tokenizer = KINDS["byte_fallback"]()
    return Guides(tokenizer, tokenizer.get_vocab_size(), (2,))


@cache
def seeds() -> list[Files]:
    person = {"type": "object", "properties": {"name": {"type": "string", "pattern": "^[a-z]{1,9}$"}, "age": {"type": "integer", "multipleOf": 2}},
              "required": ["name"], "additionalProperties": False}  # fmt: skip
    tree = {
        "$defs": {"n": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/n"}, {"const": 1}]}, "maxItems": 2}},
        "$ref": "#/$defs/n",
    }
    forms = (
        {"json_schema": person},
        {"json_schema": tree},
        {"regex": r"(\d{1,3}\.){3}\d+|[^a-c]*"},
        {"grammar": 'start: "a" pair+ (X | %json {"enum": [1]})\npair: X ":" /[0-9]{2,5}/\nX: /[a-z]+/ & ~/b.*/'},
        {"choice": ["yes", "no \"or\" 🙂"]},
    )  # fmt: skip
    return [{NAME: json.dumps(form).encode()} for form in forms]


def enter(folder: Path) -> None:
    constraint = parse_sampling(read_json(folder / NAME)).constraint
    if constraint is None:
        return
    guide = guides().guide(constraint)
    for _ in range(TOKENS):
        token = int(guide.allowed()[0])
        if token == 2:
            break
        guide.take(token)


DOOR = Door("form", enter, seeds)
