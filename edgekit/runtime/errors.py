"""Every fault edgekit reports on purpose, and the exit code each one ends a command with.

    EdgekitError
    ├── CheckFailed       1  a budget or a check was not met
    ├── BadInput          2  wrong usage, or a file or text that cannot be used
    └── NotPossibleHere   3  sound, but this machine cannot do it

A message says what is wrong, where, and what to do, and can be read whatever the file holds that it is about: control characters
are visible, long values are cut, and of many findings the first are told. Anything else that escapes is a bug in edgekit, but for
`Interrupted`, which is no fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgekit.runtime.shown import shown

__all__ = ["BadInput", "CheckFailed", "EdgekitError", "Interrupted", "NotPossibleHere", "Topic"]

LONGEST = {"what": 4000, "where": 1000, "fix": 2000, "fault": 1000}
"""Characters of each part of a message, at most."""
MOST_FAULTS = 40
Topic = Literal[
    "a-budget-was-not-met",
    "a-column-is-missing",
    "answers-are-not-those-of-the-models-own-library",
    "ended-by-something-unforeseen",
    "faults-in-a-recipe-or-a-target",
    "files-are-not-what-the-manifest-says",
    "golden-inputs-are-not-right",
    "its-signature-does-not-hold",
    "labels-unknown-to-the-model",
    "no-bundle-here",
    "no-proven-recipe-keeps-this-budget",
    "no-room",
    "no-such-data-file",
    "no-task-fits",
    "pickles-and-code-of-a-model",
    "something-is-not-installed",
    "the-chip-is-not-the-targets",
    "the-device-refuses",
    "the-graph-that-runs-is-not-what-the-target-asks-for",
    "the-hub-did-not-give-it",
    "the-port-is-taken",
    "this-recipe-cannot-work",
    "too-few-rows-to-split",
    "which-is-meant",
]
"""Sections of docs/faq.md, which explain a kind of fault: `edgekit docs faq#TOPIC`."""


class EdgekitError(Exception):
    """Base of all reported faults.

    `what` says what is wrong, `where` names the file, field or node, `fix` says what to do; `faults` lists
    the single findings when one check found several; `see` is where more is told of this kind of fault.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        faults: Sequence[str] = (),
        see: Topic | None = None,
    ) -> None:
        self.what = shown(what, LONGEST["what"])
        self.where = None if where is None else shown(where, LONGEST["where"])
        self.fix = None if fix is None else shown(fix, LONGEST["fix"])
        more = len(faults) - MOST_FAULTS
        told = faults if more <= 1 else [*faults[:MOST_FAULTS], f"and {more:,} more"]
        self.faults = tuple(shown(fault, LONGEST["fault"]) for fault in told)
        self.see = see
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
