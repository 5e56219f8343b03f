"""Sounds in rows: bytes as the datasets library writes them, base64 text, or the path of a file beside the rows; kept as base64 text."""

from __future__ import annotations

from edgekit.data.images import file_value
from edgekit.runtime.jsontypes import JsonValue
from edgekit.runtime.waveform import audible

__all__ = ["sound_value"]


def sound_value(value: object) -> tuple[JsonValue, str | None]:
    """(the base64 text of a sound's file, what is wrong with it or None)."""
    return file_value(value, "audio file", audible)
