"""Frozen dataclasses as JSON: written field by field, and read strictly, as what comes from outside.

A record is a frozen dataclass whose fields are text, numbers, booleans, None, tuples, mappings from text, `JsonObject`, or records.
Adding a field with a default lets documents of before be read; a field with `field(default=None, metadata=OMITTED)` is left out of
the document where it is None, so that documents without it stay as they were.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from edgekit.runtime.jsontypes import JsonValue

__all__ = ["OMITTED", "as_json", "matching", "read_record", "within"]

OMITTED: Mapping[str, bool] = types.MappingProxyType({"omitted": True})
UNIONS = (Union, types.UnionType)
ENOUGH = 1000
"""Faults after which no more are looked for: a document of a megabyte can have a million."""
R = TypeVar("R")


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    """Types of the fields of a record."""
    return get_type_hints(kind, localns={"JsonValue": JsonValue})  # the name within JsonObject


def within(low: float, high: float, *, different: bool = False) -> dict[str, object]:
    """Field metadata: a number, or each number of a tuple, lies between `low` and `high`, both included; `different`: none occurs twice."""
    return {"low": low, "high": high, "different": different}


def matching(pattern: re.Pattern[str], what: str) -> dict[str, object]:
    """Field metadata: a text matches the whole of `pattern`, which makes it `what`."""
    return {"pattern": pattern, "what": what}


def as_json(record: object) -> dict[str, JsonValue]:
    """The document of a record."""
    assert dataclasses.is_dataclass(record) and not isinstance(record, type)
    values = {item.name: getattr(record, item.name) for item in dataclasses.fields(record)}
    left_out = {item.name for item in dataclasses.fields(record) if item.metadata.get("omitted") and values[item.name] is None}
    return {name: _plain(value) for name, value in values.items() if name not in left_out}


def _plain(value: object) -> JsonValue:
    if dataclasses.is_dataclass(value):
        return as_json(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    assert value is None or isinstance(value, str | bool | int | float)
    return value


def read_record(kind: type[R], given: object, where: str, faults: list[str]) -> R | None:
    """The record that the document `given` holds; None, with each fault added to `faults` as "where.field: what", where it has any.

    Every field without a default must be there, with its exact type (a whole number is taken for a float), and no other. Of very many
    faults the first are found.
    """
    prefix = f"{where}." if where else ""
    if not isinstance(given, dict):
        faults.append(f"{where or 'the whole'}: {type(given).__name__} instead of an object")
        return None
    before = len(faults)
    hints, values = _hints(cast(Hashable, kind)), {}
    known = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]  # R is a dataclass
    for name, item in known.items():
        if name in given:
            count = len(faults)
            values[name] = _value(hints[name], given[name], f"{prefix}{name}", faults)
            if len(faults) == count and values[name] is not None:
                faults += _out_of_bounds(values[name], item.metadata, f"{prefix}{name}")
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            faults.append(f"{prefix}{name}: missing")
    faults += [f"{prefix}{name}: unknown" for name in given if name not in known]
    return kind(**values) if len(faults) == before else None


def _out_of_bounds(value: Any, metadata: Mapping[str, Any], where: str) -> list[str]:
    """What `within` or `matching` refuses."""
    faults = []
    if "low" in metadata:
        low, high = metadata["low"], metadata["high"]
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(low <= number <= high for number in numbers):
            faults.append(f"{where}: {value} is not within {low:,} to {high:,}")
        elif metadata["different"] and len(set(numbers)) != len(numbers):
            faults.append(f"{where}: {value} holds a number twice")
    if "pattern" in metadata and not metadata["pattern"].fullmatch(value):
        faults.append(f"{where}: {value!r} is not {metadata['what']}")
    return faults


def _value(hint: Any, given: object, where: str, faults: list[str]) -> Any:
    """`given` as a value of type `hint`, or None with the fault told."""
    if len(faults) > ENOUGH:
        return None
    origin = get_origin(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return read_record(hint, given, where, faults)
    if origin in UNIONS:
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        if given is None and len(kinds) < len(get_args(hint)):
            return None
        if len(kinds) == 1:
            return _value(kinds[0], given, where, faults)
        return _checked(type(given) in kinds, given, where, " or ".join(kind.__name__ for kind in kinds), faults)
    if origin is tuple:
        return _tuple(get_args(hint), given, where, faults)
    if origin is Literal:
        wanted = " or ".join(map(repr, get_args(hint)))
        return _checked(given in get_args(hint), given, where, wanted, faults)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(given, dict) or get_origin(get_args(hint)[1]) in UNIONS:  # JsonObject: anything inside
            return _checked(isinstance(given, dict), given, where, "an object", faults)
        kind = get_args(hint)[1]
        if _all_plain(kind, given.values()):
            return dict(given)
        return {name: _value(kind, item, f"{where}.{name}", faults) for name, item in given.items()}
    if hint is float:
        number = type(given) is int or (isinstance(given, float) and math.isfinite(given))
        return _checked(number, given, where, "float", faults)
    return _checked(type(given) is hint, given, where, hint.__name__, faults)


def _tuple(kinds: tuple[Any, ...], given: object, where: str, faults: list[str]) -> tuple[Any, ...] | None:
    if not isinstance(given, list):
        faults.append(f"{where}: {type(given).__name__} instead of list")
        return None
    if kinds[-1] is Ellipsis:
        if _all_plain(kinds[0], given):
            return tuple(given)
        kinds = kinds[:1] * len(given)
    if len(given) != len(kinds):
        faults.append(f"{where}: {len(given)} values instead of {len(kinds)}")
        return None
    pairs = zip(kinds, given, strict=True)
    return tuple(_value(kind, item, f"{where}[{number}]", faults) for number, (kind, item) in enumerate(pairs))


def _all_plain(hint: Any, given: Iterable[object]) -> bool:
    """Whether `hint` is a type of single values, or a union of such, and each of `given` is of it: most are, and long lists are read at once."""
    return set(map(type, given)) <= _plain_types(hint)


@cache
def _plain_types(hint: Any) -> frozenset[type]:
    kinds = get_args(hint) if get_origin(hint) in UNIONS else (hint,)
    return frozenset(kinds) if set(kinds) <= {str, int, bool, type(None)} else frozenset()


def _checked(sound: bool, given: object, where: str, wanted: str, faults: list[str]) -> object:
    if not sound:
        faults.append(f"{where}: {type(given).__name__} instead of {wanted}")
        return None
    return given
