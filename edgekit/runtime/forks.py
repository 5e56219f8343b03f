"""Objects that hold what a forked child must not share with its parent: locks, processes, temporary folders."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, Protocol

__all__ = ["at_exit_here", "copy_for_children", "leave", "renew_in_children"]


class Renewed(Protocol):
    """What is made anew in a child."""

    def renew(self) -> None:
        """Called in a child right after the fork, where no other thread runs: take new locks, leave alone what is the parent's."""
        ...


class Copied(Renewed, Protocol):
    """What is made anew from a copy, as the parent may write on before the child runs at all."""

    def copy(self) -> None:
        """Called in the parent right before the fork."""
        ...

    def forget(self) -> None:
        """Called in the parent after it."""
        ...


_renewed: weakref.WeakSet[Any] = weakref.WeakSet()
_copied: weakref.WeakSet[Any] = weakref.WeakSet()
_at_end: list[weakref.finalize[..., Any]] = []
"""What `at_exit_here` was asked for, while it is still to be done."""


def renew_in_children(held: Renewed) -> None:
    """Have `held` renewed in every child that is forked while it lives."""
    _renewed.add(held)


def copy_for_children(held: Copied) -> None:
    """Have `held`, whose memory stays one with that of children, copied before each fork while it lives, and renewed in the child."""
    _copied.add(held)
    renew_in_children(held)


def at_exit_here(held: object, done: Callable[..., object], *arguments: object) -> None:
    """Call `done` with `arguments` when `held` goes or this process ends, and never in a child that was forked from it."""
    _at_end[:] = [one for one in _at_end if one.alive]
    _at_end.append(weakref.finalize(held, _in_process, os.getpid(), done, *arguments))


def leave(code: int) -> NoReturn:
    """End this process at once, after what is to be done at its end: for one whose native code never returns, and would be waited for."""
    for one in _at_end:
        one()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def _in_process(process: int, done: Callable[..., object], *arguments: object) -> None:
    if os.getpid() == process:
        done(*arguments)


def _copy() -> None:
    for held in list(_copied):
        held.copy()


def _forget() -> None:
    for held in list(_copied):
        held.forget()


def _renew() -> None:
    for held in list(_renewed):
        held.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_copy, after_in_parent=_forget, after_in_child=_renew)
