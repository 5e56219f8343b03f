"""What an answer's text must be, whatever the model would say: a JSON document of a schema, or a text of a regular expression, a grammar or a list.

Only what can be told without llguidance is told here; `guide.py` compiles it and holds answers to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.endless import ENDLESS, endless
from edgekit.runtime.generate.exact import check_depth, exact
from edgekit.runtime.strict_json import strict_json

__all__ = ["KINDS", "LONGEST", "MOST_CHOICES", "Constraint", "parse_constraint"]

Kind = Literal["json_schema", "regex", "grammar", "choice"]
KINDS: tuple[Kind, ...] = ("json_schema", "regex", "grammar", "choice")
"""Names of the settings; an answer has one of them at most."""
LONGEST = 262_144
"""Characters of a schema, an expression or a grammar."""
MOST_CHOICES = 10_000


@dataclass(frozen=True)
class Constraint:
    """What an answer must be, checked as far as it can be without compiling it."""

    kind: Kind
    text: str
    """The schema as JSON, the expression, the grammar in Lark's syntax, or the JSON list of the texts to choose from."""
    tokens: bool = False
    """Whether the names of special tokens that a grammar demands are part of the answer's text, for whoever reads it on."""


def parse_constraint(given: Mapping[str, object], faults: list[str]) -> Constraint | None:
    """The constraint among settings by name: `json_schema` an object, true, or a JSON text of them; `regex` and `grammar` texts;
    `choice` a list of different texts. None where there is none, or it cannot be used: each fault is added to `faults`.
    """
    named = [kind for kind in KINDS if given.get(kind) is not None]
    if len(named) > 1:
        faults.append(f"{' and '.join(named)}: an answer has one form; give one of them")
    if len(named) != 1:
        return None
    (kind,) = named
    value = given[kind]
    if kind == "json_schema":
        if isinstance(value, str):
            try:
                value = strict_json(value.encode("utf-8", "surrogatepass"), kind)
            except BadInput as fault:
                faults.append(f"{kind}: {fault.what}")
                return None
        if not isinstance(value, dict) and value is not True:
            what = "nothing fits false" if value is False else f"{type(value).__name__} is no JSON Schema"
            faults.append(f"{kind}: {what}; give an object")
            return None
        try:
            check_depth(value)
            if (pointer := endless(value)) is not None:
                raise BadInput(ENDLESS.format(pointer=pointer))
            value = json.dumps({} if value is True else exact(value), ensure_ascii=False)
        except BadInput as fault:
            faults.append(f"{kind}: {fault.what}")
            return None
    elif kind == "choice":
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_CHOICES or len({*map(str, value)}) < len(value):
            faults.append(f"{kind}: not a list of 1 to {MOST_CHOICES:,} different texts")
            return None
        if not all(isinstance(text, str) and text for text in value):
            faults.append(f"{kind}: holds something else than texts, or an empty one")
            return None
        value = json.dumps(value, ensure_ascii=False)
    elif not isinstance(value, str) or not value:
        faults.append(f"{kind}: not a text, or an empty one")
        return None
    if len(value) > LONGEST:
        faults.append(f"{kind}: {len(value):,} characters are more than {LONGEST:,}")
    elif any(0xD800 <= ord(letter) < 0xE000 for letter in value):
        faults.append(f"{kind}: holds half of a surrogate pair, which is no text")
    else:
        return Constraint(kind, value)
    return None
