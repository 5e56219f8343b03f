"""Which files a result was made from, as seen from its folder. They are not in the lineage, which holds nothing of the machine's folders."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import BadInput
from edgekit.runtime.files import read_utf8

__all__ = ["RECIPE", "TARGET", "made_from"]

RECIPE, TARGET = ".recipe", ".target"
"""Files of a result folder that hold the path of a recipe's or target's file, or its name where it ships with edgekit."""
LONGEST_PATH = 4096


def made_from(folder: Path, what: str) -> str | None:
    """What the result in `folder` says of its `RECIPE` or `TARGET`; None where it does not say."""
    try:
        return read_utf8(folder / what, LONGEST_PATH)
    except BadInput:
        return None
