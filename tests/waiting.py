"""Tests wait for what happens, not for a time: nothing that they say may hang on how busy the machine is."""

from __future__ import annotations

import glob
import time
from collections.abc import Callable

__all__ = ["PATIENCE_SECONDS", "files_at", "wait_for"]

PATIENCE_SECONDS = 120.0
"""After so long it will not come to be, on however busy a machine."""


def wait_for(condition: Callable[[], bool], what: str = "it did not come to be") -> None:
    """Until `condition` is true; AssertionError with `what` where it never is."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def files_at(pattern: str) -> list[str]:
    """What matches `pattern` just now, while others make and remove files there; `Path.glob` raises over a folder that goes meanwhile."""
    return glob.glob(pattern)  # noqa: PTH207
