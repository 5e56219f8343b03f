"""What a draft says of a setting: its value with the reason for it, or the question that the files leave open."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from edgekit.errors import BadInput

__all__ = ["TIME", "Choice", "Seen", "Unclear"]

TIME = "time"
"""The setting of a line that says how long an export takes."""


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
    says: tuple[tuple[str, str, str], ...]
    """What on the command line says it: (option, the name before the =, "" where there is none, and the value)."""

    @property
    def options(self) -> str:
        """That, as it is typed."""
        return " ".join(f"{option} {shlex.quote(f'{name}={value}' if name else value)}" for option, name, value in self.says)


class Unclear(Exception):
    """The files leave a setting open: a person is asked for it, a script says it."""

    def __init__(
        self,
        why: str,
        choices: Sequence[Choice],
        *,
        told: BadInput | None = None,
        labels: Mapping[str, str] = MappingProxyType({}),
        known: Sequence[str] = (),
    ) -> None:
        super().__init__(why)
        self.why, self.choices, self.told = why, tuple(choices), told
        """`told`: what a script is told; None: the choices. There may be none of them."""
        self.labels, self.known = labels, tuple(known)
        """Labels whose meaning is open -> the name that each may be, or NAME; the names that the model has."""
