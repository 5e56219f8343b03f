"""A bundle's config.json."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from edgekit.runtime.bundle.config import parse_config
from tests.fuzz.bundles import released
from tests.fuzz.door import Door, Files

__all__ = ["DOOR"]

NAME = "config.json"


@cache
def seeds() -> list[Files]:
    return [{NAME: files[NAME]} for files in released()[0] if NAME in files]


def enter(folder: Path) -> None:
    parse_config(folder / NAME)


DOOR = Door("config", enter, seeds)
