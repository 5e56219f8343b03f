"""Every fault edgekit reports on purpose, and the exit code each one ends a command with.

    EdgekitError
    ├── CheckFailed       1  a budget or a check was not met
    ├── BadInput          2  wrong usage, or a file or text that cannot be used
    └── NotPossibleHere   3  sound, but this machine cannot do it

A message says what is wrong, where, and what to do. Anything else that escapes is a bug in edgekit, but for `Interrupted`, which
is no fault.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["BadInput", "CheckFailed", "EdgekitError", "Interrupted", "NotPossibleHere"]


class EdgekitError(Exception):
    """Base of all reported faults.

    `what` says what is wrong, `where` names the file, field or node, `fix` says what to do; `faults` lists
    the single findings when one check found several.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None, faults: Sequence[str] = ()) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        self.faults = tuple(faults)
        super().__init__(self.text())

    def text(self) -> str:
        """The whole message, one thought a line."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        lines = [head, *(f"  - {fault}" for fault in self.faults)]
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class CheckFailed(EdgekitError):
    """A budget, a parity check, an audit or a verification was not met."""

    exit_code = 1


class BadInput(EdgekitError):
    """A command line, a file or a text that edgekit cannot use as it is."""

    exit_code = 2


class NotPossibleHere(EdgekitError):
    """What was asked is sound, but this machine lacks what it needs."""

    exit_code = 3


class Interrupted(Exception):
    """Ctrl-C was heard before there was any result to return; a command ends with exit code 130."""
