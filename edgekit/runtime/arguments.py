"""Arguments of the Python functions, as callers naturally have them: NumPy's numbers too, and what is none is said."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.errors import BadInput

__all__ = ["a_path", "a_switch", "a_whole_number", "plain"]


def a_whole_number(value: object, name: str, *, least: int) -> int:
    """`value` as an int of `least` or more.

    Raises:
        BadInput: true or false, another kind, or less.
    """
    try:
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least:
        raise BadInput(f"{value!r} is not a whole number from {least}", where=name)
    return number


def a_switch(value: object, name: str) -> bool:
    """`value` where it is True or False.

    Raises:
        BadInput: anything else, which Python would take for one of them.
    """
    if not isinstance(value, bool | np.bool_):
        raise BadInput(f"{value!r} is not True or False", where=name)
    return bool(value)


def a_path(value: object, name: str) -> Path:
    """`value`, a text or a path, as a path.

    Raises:
        BadInput: anything else, or an empty text.
    """
    try:
        return Path(value if not isinstance(value, str) or value else None)  # type: ignore[arg-type]
    except TypeError:
        raise BadInput(f"{value!r} is not a path", where=name) from None


def plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's; all else as it is."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
