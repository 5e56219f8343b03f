"""JSON schemas put so that llguidance keeps them to the letter: what it would take wider is said more narrowly, what it cannot keep is told.

Measured with llguidance 1.9.1, against jsonschema: numbers are float64 to it, and are written with the shortest digits, so that 9007199254740993
becomes 9007199254740992; {"exclusiveMinimum": 0, "maximum": 0.5} lets "0" through; a year may have a 29th of February or not, a `time` 60
seconds at any hour, a `hostname` and its labels any length; and an object counts a name that comes twice as two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal

from edgekit.runtime.errors import BadInput
from edgekit.runtime.jsontypes import JsonObject, JsonValue

__all__ = ["DEEPEST", "check_depth", "closed", "exact"]

DEEPEST = 120
"""Lists and objects within one another in a schema, at most: llguidance reads no more than some 128."""
PLAIN = 2**53
"""Whole numbers up to here are float64 as they are."""
LARGEST = 2**63 - 1024
"""The largest float64 below 2**63, beyond which llguidance's whole numbers do not go."""
DIGITS, POWER = 15, 22
"""Digits, and power of ten, of decimals that float64 gives back by any sound way of reading."""
NARROW = 1e-9
"""What is added to a bound that is excluded."""
LEAP = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
"""Years with a 29th of February."""
DATE = f"^({LEAP}-02-29|[0-9]{{4}}-(0[13-9]|1[0-2])|[0-9]{{4}}-02-([01]|2[0-8]))"
PATTERNS = {
    "date": DATE,
    "time": "^..:..:[0-5]",
    "date-time": f"{DATE}[0-9-]*[Tt ]..:..:[0-5]",
    "hostname": "^[^.]{1,63}([.][^.]{1,63})*$",
}
"""Formats -> what llguidance's own expressions of them leave out."""
LONGEST_HOSTNAME = 253
"""Characters (RFC 1035, section 2.3.4, without the dot at the end)."""
BY_NAME = ("properties", "patternProperties", "$defs", "definitions")
"""Keywords with objects of schemas; those of VALUES hold values, and all others schemas, lists of them, or neither."""
VALUES = ("const", "enum", "default", "examples")


def check_depth(schema: object) -> None:
    """Raises:
    BadInput: more than DEEPEST lists and objects are within one another.
    """
    level, depth = [schema], 0
    while level:
        inner = [one for one in level if isinstance(one, dict | list)]
        level = [part for one in inner for part in (one.values() if isinstance(one, dict) else one)]
        depth += bool(inner)
        if depth > DEEPEST:
            raise BadInput(f"lists and objects are nested deeper than {DEEPEST}")


OPEN = {"additionalProperties", "patternProperties", "unevaluatedProperties"}
"""Keywords that say what an object holds beside what it names."""
TOGETHER = {"allOf", "not", "if", "then", "else", "dependentSchemas"}
"""Keywords that hold one object to several schemas, of which each may name what another does not; so do those of BESIDE next to `properties`."""
MIXED = "held to several schemas"
BESIDE = {"$ref", "$dynamicRef", "anyOf", "oneOf"}


def closed(schema: JsonObject) -> JsonObject:
    """`schema`, no deeper than DEEPEST, whose objects hold what they name alone, but for those that say what else. It is as it was where an
    object is held to several schemas."""
    made = _closed(schema)
    return schema if made is None else made


def _closed(schema: JsonObject) -> JsonObject | None:
    """None where an object is held to several schemas."""
    if TOGETHER & schema.keys() or ("properties" in schema and BESIDE & schema.keys()):
        return None
    found: dict[str, JsonValue] = {}
    for key, value in schema.items():
        if key in VALUES:
            found[key] = value
        elif isinstance(value, dict) and key in BY_NAME:
            inner = {name: _closed_in(one) for name, one in value.items()}
            if MIXED in inner.values():
                return None
            found[key] = inner
        elif isinstance(value, list):
            several = [_closed_in(one) for one in value]
            if MIXED in several:
                return None
            found[key] = several
        elif (one := _closed_in(value)) == MIXED:
            return None
        else:
            found[key] = one
    return {**found, "additionalProperties": False} if "properties" in schema and not OPEN & schema.keys() else found


def _closed_in(value: JsonValue) -> JsonValue:
    """`value`, which is a schema where it is an object; `MIXED` where `_closed` gives None."""
    if not isinstance(value, dict):
        return value
    made = _closed(value)
    return MIXED if made is None else made


def exact(schema: object) -> object:
    """`schema`, no deeper than DEEPEST, as it is to be given to llguidance: what fits that fits `schema` too.

    Raises:
        BadInput: a number that would become another.
    """
    if isinstance(schema, list):
        return [exact(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, object] = {}
    for key, value in schema.items():
        if key in BY_NAME and isinstance(value, dict):
            found[key] = {name: exact(one) for name, one in value.items()}
        elif key in VALUES:
            found[key] = value
        else:
            found[key] = exact(value)
    for number in (number for key in ("const", "enum") for number in _numbers(schema.get(key))):
        if not _kept(number):
            what = f"the number {str(number)[:40]} has more digits than can be kept"
            raise BadInput(f"{what}; make it a text, or give it at most {DIGITS}")
    least, required = schema.get("minProperties"), schema.get("required")
    if isinstance(least, int) and least > 1 + len({*map(str, required)} if isinstance(required, list) else ()):
        raise BadInput(
            "minProperties cannot be kept beyond one more than is required, as a name may come twice; require what there must be"
        )
    for key, narrower in BOUNDS.items():
        bound = schema.get(key)
        if schema.get("exclusive" + key.capitalize()) is True:  # as draft 4 has it
            narrower = BOUNDS["exclusive" + key.capitalize()]
        if isinstance(bound, int | float) and not isinstance(bound, bool):
            found[key] = narrower(bound)
    if found.get("uniqueItems") is False:
        del found["uniqueItems"]
    pattern = PATTERNS.get(str(schema.get("format")))
    if pattern is not None:
        others = found.get("allOf", [])
        longest = [{"maxLength": LONGEST_HOSTNAME}] if schema["format"] == "hostname" else []
        found["allOf"] = [*(others if isinstance(others, list) else [others]), {"pattern": pattern}, *longest]
    return found


def _numbers(value: object) -> Iterator[int | float]:
    """All numbers in a JSON value."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _kept(number: float) -> bool:
    """Whether `number` is the same after it was float64, and was written."""
    if isinstance(number, int) and abs(number) <= PLAIN:
        return True
    _, digits, power = Decimal(str(number)).normalize().as_tuple()
    return len(digits) <= DIGITS and isinstance(power, int) and abs(power) <= POWER


def _lowest(bound: float) -> float:
    """A `minimum` that is float64, no less than `bound`."""
    if abs(bound) <= PLAIN:
        return bound
    if bound > LARGEST:
        raise BadInput("a bound leaves numbers beyond 64 bits alone, which cannot be kept to")
    bound = max(bound, -LARGEST)
    near = float(bound)
    return int(near if int(near) >= bound else math.nextafter(near, math.inf))


def _above(bound: float) -> float:
    """An `exclusiveMinimum` likewise; of a small whole number a little more, as llguidance may take that number for one above it."""
    if abs(bound) > PLAIN:
        return _lowest(int(bound) + 1)
    return bound + NARROW if float(bound).is_integer() else bound


BOUNDS: dict[str, Callable[[float], float]] = {
    "minimum": _lowest,
    "exclusiveMinimum": _above,
    "maximum": lambda bound: -_lowest(-bound),
    "exclusiveMaximum": lambda bound: -_above(-bound),
}
