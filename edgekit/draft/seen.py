"""What a draft says of a setting: its value with the reason for it, or the question that the files leave open."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Choice", "Seen", "Unclear"]


@dataclass(frozen=True)
class Seen:
    """A setting and where it comes from."""

    setting: str
    """Its name in the recipe, as in "model.max_length"."""
    value: str
    """For people."""
    reason: str
    """What in the files, or who, said so."""


@dataclass(frozen=True)
class Choice:
    """One of several values that a setting may have."""

    value: str
    what: str
    """What it would mean, in words."""


class Unclear(Exception):
    """The files leave a setting open: a person is asked for it, a script says it."""

    def __init__(self, why: str, choices: Sequence[Choice], *, column: str | None = None) -> None:
        super().__init__(why)
        self.why, self.choices, self.column = why, tuple(choices), column
        """`column`: of the task, which is in question; None where the task is."""

    def option(self, choice: Choice) -> str:
        """What on the command line says that it is `choice`."""
        return f"--task {choice.value}" if self.column is None else f"--column {shlex.quote(f'{self.column}={choice.value}')}"
