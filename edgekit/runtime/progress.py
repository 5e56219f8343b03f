"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "silent"]

Progress = Callable[[float, float, str], None]
"""(steps done, steps in all, what is going on, with its figures); called often, so it must be cheap."""


def silent(done: float, total: float, text: str) -> None:
    """Progress that nobody watches."""
