"""Objects that hold what a forked child must not share with its parent: locks, processes, temporary folders."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["at_exit_here", "renew_in_children"]


class Renewed(Protocol):
    """What is made anew in a child."""

    def renew(self) -> None:
        """Called in a child right after the fork, where no other thread runs: take new locks, leave alone what is the parent's."""
        ...


_renewed: weakref.WeakSet[Any] = weakref.WeakSet()


def renew_in_children(held: Renewed) -> None:
    """Have `held` renewed in every child that is forked while it lives."""
    _renewed.add(held)


def at_exit_here(held: object, done: Callable[..., object], *arguments: object) -> None:
    """Call `done` with `arguments` when `held` goes or this process ends, and never in a child that was forked from it."""
    weakref.finalize(held, _in_process, os.getpid(), done, *arguments)


def _in_process(process: int, done: Callable[..., object], *arguments: object) -> None:
    if os.getpid() == process:
        done(*arguments)


def _renew() -> None:
    for held in list(_renewed):
        held.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
