"""Types of JSON documents: what is written, and what is read before its fields are checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, Union

__all__ = ["JsonObject", "JsonValue"]

JsonValue: TypeAlias = Union[bool, int, float, str, Sequence["JsonValue"], Mapping[str, "JsonValue"], None]  # noqa: UP007 - recursive
"""Whatever JSON can hold; read-only, so that a list of numbers is one too."""
JsonObject: TypeAlias = Mapping[str, JsonValue]
