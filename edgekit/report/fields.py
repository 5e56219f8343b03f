"""Strict reading of the JSON documents a report is made from: every fault of a file is reported at once, NaN is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.errors import BadInput
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.strict_json import read_json

__all__ = ["Fields", "finish", "open_document"]

LARGEST = 64_000_000
"""Bytes of a result's document."""
MOST_FAULTS = 12


@dataclass(frozen=True)
class Fields:
    """A JSON object and its path in the document. A wrong or missing field is noted in `faults`, and a neutral value returned."""

    value: JsonObject
    where: str = ""
    faults: list[str] = field(default_factory=list)

    def wrong(self, key: str, words: str) -> None:
        """Note that `key` is not what it must be."""
        self.faults.append(f"{self.where}{key}: {words}")

    def has(self, key: str) -> bool:
        """Whether `key` is there and not null."""
        return self.value.get(key) is not None

    def object(self, key: str) -> Fields:
        """The object under `key`; an empty one, and a fault, where there is none."""
        return self._object(self.value.get(key), key)

    def maybe_object(self, key: str) -> Fields | None:
        """The object under `key`, or None where it is absent or null."""
        return self.object(key) if self.has(key) else None

    def objects(self, key: str) -> list[Fields]:
        """The objects of the list under `key`."""
        return [self._object(item, f"{key}[{number}]") for number, item in enumerate(self._list(key))]

    def members(self, key: str) -> dict[str, Fields]:
        """The objects under the object `key`, by name."""
        inner = self.object(key)
        return {name: inner.object(name) for name in inner.value}

    def text(self, key: str, default: str | None = None) -> str:
        """The string under `key`."""
        found = self.value.get(key, default)
        if isinstance(found, str):
            return found
        self.wrong(key, "a string is needed")
        return ""

    def texts(self, key: str) -> tuple[str, ...]:
        """The strings of the list under `key`."""
        items = self._list(key)
        strings = tuple(item for item in items if isinstance(item, str))
        if len(strings) == len(items):
            return strings
        self.wrong(key, "a list of strings is needed")
        return ()

    def numbers(self, key: str, *, above: float = -math.inf) -> tuple[float, ...]:
        """The finite numbers, each greater than `above`, of the list under `key`."""
        items = Fields({str(number): item for number, item in enumerate(self._list(key))}, f"{self.where}{key}.", self.faults)
        return tuple(items.number(name, above=above) for name in items.value)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """The true or false under `key`."""
        found = self.value.get(key, default)
        if isinstance(found, bool):
            return found
        self.wrong(key, "true or false is needed")
        return False

    def number(self, key: str, *, above: float = -math.inf) -> float:
        """The finite number under `key`, greater than `above`."""
        found = self.value.get(key)
        if not isinstance(found, int | float) or isinstance(found, bool) or not math.isfinite(found):
            self.wrong(key, "a finite number is needed")
            return 1.0
        if found <= above:
            self.wrong(key, f"{found:g} is not above {above:g}")
            return 1.0
        return float(found)

    def maybe_number(self, key: str, *, above: float = -math.inf) -> float | None:
        """The finite number under `key`, or None where it is absent or null."""
        return self.number(key, above=above) if self.has(key) else None

    def count(self, key: str) -> int:
        """The whole number from 0 under `key`."""
        found = self.value.get(key)
        if isinstance(found, int) and not isinstance(found, bool) and found >= 0:
            return found
        self.wrong(key, "a whole number from 0 is needed")
        return 0

    def pair(self, key: str, *, above: float = -math.inf) -> tuple[float, float]:
        """The interval [low, high] of finite numbers under `key`."""
        found = self._list(key)
        inner = Fields(dict(zip(("low", "high"), found, strict=False)), f"{self.where}{key}.", self.faults)
        low, high = inner.number("low", above=above), inner.number("high", above=above)
        if len(found) != 2 or low > high:
            self.wrong(key, "an interval [low, high] is needed")
        return low, high

    def _list(self, key: str) -> list[JsonValue]:
        found = self.value.get(key)
        if isinstance(found, list):
            return found
        self.wrong(key, "a list is needed")
        return []

    def _object(self, found: JsonValue, key: str) -> Fields:
        if not isinstance(found, Mapping):
            self.wrong(key, "an object is needed")
            found = {}
        return Fields(found, f"{self.where}{key}.", self.faults)


def open_document(path: Path) -> Fields:
    """The object in JSON file `path`, whose schema_version must be 1.

    Raises:
        BadInput: no such file, not UTF-8 JSON, NaN or Infinity in it, another version.
    """
    found = read_json(path, most=LARGEST, fix="run `edgekit export` first")
    if not isinstance(found, dict):
        raise BadInput("not a JSON object", where=str(path), fix="make it again")
    if found.get("schema_version") != 1:
        raise BadInput(f"schema_version {found.get('schema_version')!r} is unknown; this edgekit reads 1", where=str(path))
    return Fields(found)


def finish(document: Fields, path: Path) -> None:
    """Raise BadInput with every fault noted in `document`, if there is any."""
    if document.faults:
        shown = document.faults[:MOST_FAULTS]
        more = len(document.faults) - len(shown)
        raise BadInput(
            "malformed", where=str(path), faults=[*shown, *([f"and {more} more"] if more else [])], fix="make it again"
        )
