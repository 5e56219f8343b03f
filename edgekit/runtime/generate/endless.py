"""Schemas of which no document ends, because each would hold another one: told before anything is compiled, as a grammar of them is sound."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

__all__ = ["ENDLESS", "endless"]

ENDLESS = "no document of it ends, as every {pointer} holds another one; leave that out of `required`, or allow null there"
"""What is wrong with a schema of which `endless` names a reference."""
MOST = 200_000
"""Parts of a schema that are looked at, some of them often; a schema that takes more counts as one that ends."""
SCALARS = {"string", "number", "integer", "boolean", "null"}


def endless(schema: object) -> str | None:
    """The `$ref` that every document of `schema` goes round for ever, such as "#/$defs/node"; None where a document can end.

    Only what a schema says outright counts: `required`, `minItems`, `anyOf`, `oneOf`, `allOf` and local references. All else may end.
    """
    targets = {pointer: _at(schema, pointer) for pointer in dict.fromkeys(_references(schema))}
    ends, left = set[str](), [MOST]
    waiting: dict[str, set[str]] = {}
    doubtful = [*targets]
    while doubtful and left[0] > 0:  # each is looked at again only where what it lacked is known to end
        pointer, lacks = doubtful.pop(), set[str]()
        if pointer in ends:
            continue
        if _ends(targets[pointer], ends, left, lacks):
            ends.add(pointer)
            doubtful += waiting.pop(pointer, ())
        else:
            for other in lacks:
                waiting.setdefault(other, set()).add(pointer)
    if left[0] <= 0 or _ends(schema, ends, left, set()):
        return None
    return next((pointer for pointer in targets if pointer not in ends), None)


def _references(schema: object) -> Iterator[str]:
    """The local `$ref`s in a schema."""
    parts = [schema]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            pointer = part.get("$ref")
            if isinstance(pointer, str) and (pointer == "#" or pointer.startswith("#/")):
                yield pointer
            parts += part.values()
        elif isinstance(part, list):
            parts += part


def _at(schema: object, pointer: str) -> object:
    """What a JSON pointer names; True, which anything fits, where there is nothing."""
    for name in pointer.split("/")[1:]:
        key = unquote(name).replace("~1", "/").replace("~0", "~")
        if isinstance(schema, list) and key.isdecimal() and int(key) < len(schema):
            schema = schema[int(key)]
        elif isinstance(schema, dict) and key in schema:
            schema = schema[key]
        else:
            return True
    return schema


def _ends(schema: object, known: set[str], left: list[int], lacks: set[str]) -> bool:
    """Whether a document of `schema` can end, where those of the references in `known` can; to `lacks` are added others that it depends on."""
    left[0] -= 1
    if not isinstance(schema, dict) or left[0] <= 0:
        return True
    pointer = schema.get("$ref")
    if isinstance(pointer, str) and (pointer == "#" or pointer.startswith("#/")) and pointer not in known:
        lacks.add(pointer)
        return False
    if not all(_ends(one, known, left, lacks) for one in _list(schema.get("allOf"))):
        return False
    for name in ("anyOf", "oneOf"):
        if (several := _list(schema.get(name))) and not any(_ends(one, known, left, lacks) for one in several):
            return False
    if "enum" in schema or "const" in schema:
        return True
    kinds = schema.get("type")
    kinds = {kinds} if isinstance(kinds, str) else {str(one) for one in _list(kinds)}
    if not kinds or kinds & SCALARS:
        return True
    return ("object" in kinds and _object_ends(schema, known, left, lacks)) or (
        "array" in kinds and _array_ends(schema, known, left, lacks)
    )


def _object_ends(schema: dict[str, object], known: set[str], left: list[int], lacks: set[str]) -> bool:
    properties = schema.get("properties")
    named = properties if isinstance(properties, dict) else {}
    others = schema.get("additionalProperties", True)
    return all(
        _ends(named.get(name, others), known, left, lacks) for name in _list(schema.get("required")) if isinstance(name, str)
    )


def _array_ends(schema: dict[str, object], known: set[str], left: list[int], lacks: set[str]) -> bool:
    least, first = schema.get("minItems", 0), _list(schema.get("prefixItems"))
    if not isinstance(least, int):
        return True
    needed = first[:least] + ([schema.get("items", True)] if least > len(first) else [])
    return all(_ends(one, known, left, lacks) for one in needed)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
