"""JSON in the one form of RFC 8785, which a digest needs: the same values are the same bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from edgekit.runtime.jsontypes import JsonValue

__all__ = ["canonical"]


def canonical(value: JsonValue) -> bytes:
    """The one text of `value` that RFC 8785 allows: keys sorted, no space, numbers as in ECMAScript, UTF-8.

    Whole numbers that a double does not hold, which the RFC leaves out, stand digit by digit, so that no two share a text.

    Raises:
        ValueError: NaN, an infinity, or half a character.
        RecursionError: too deep.
    """
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts).encode("utf-8")


def _write(value: JsonValue, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(json.dumps(value, ensure_ascii=False))
    elif value is None or isinstance(value, bool):
        parts.append("null" if value is None else "true" if value else "false")
    elif isinstance(value, int):
        parts.append(int.__repr__(value))
    elif isinstance(value, float):
        parts.append(_number(value))
    elif isinstance(value, Mapping):
        parts.append("{")
        for number, key in enumerate(sorted(value, key=_units)):
            parts.append(f"{',' * (number > 0)}{json.dumps(key, ensure_ascii=False)}:")
            _write(value[key], parts)
        parts.append("}")
    else:
        parts.append("[")
        for number, item in enumerate(value):
            parts.append("," * (number > 0))
            _write(item, parts)
        parts.append("]")


def _units(key: str) -> bytes:
    """What keys are sorted by: their 16-bit units."""
    return key.encode("utf-16-be")


def _number(value: float) -> str:
    """A double as ECMAScript's Number::toString writes it: the same shortest digits as Python's, with other exponents."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, power = float.__repr__(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(power or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"
