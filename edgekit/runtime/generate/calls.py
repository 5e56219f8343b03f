"""Calls of tools read out of an answer as it comes: text, the beginning of a call, pieces of its arguments as JSON."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgekit.runtime.generate.gemma_arguments import GemmaScanner
from edgekit.runtime.generate.tools import LLAMA, Format

__all__ = ["Begun", "CallReader", "Event", "More", "Said", "joined"]


@dataclass(frozen=True)
class Said:
    """Text before the calls."""

    text: str


@dataclass(frozen=True)
class Begun:
    """A call begins."""

    number: int
    name: str


@dataclass(frozen=True)
class More:
    """A piece of a call's arguments."""

    number: int
    arguments: str


Event = Said | Begun | More


def joined(events: Sequence[Event]) -> tuple[str, list[tuple[str, str]]]:
    """(the text, (name, arguments) of each call) of an answer's events."""
    text, calls = "", list[tuple[str, str]]()
    for event in events:
        if isinstance(event, Said):
            text += event.text
        elif isinstance(event, Begun):
            calls.append((event.name, ""))
        else:
            calls[event.number] = (calls[event.number][0], calls[event.number][1] + event.arguments)
    return text, calls


class JsonScanner:
    """Finds where an object ends."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_text = self._escaped = False
        self.done = False

    def push(self, text: str) -> tuple[str, str]:
        """(what of `text` belongs to the object, what comes after it)."""
        for index, letter in enumerate(text):
            if self._in_text:
                if self._escaped:
                    self._escaped = False
                elif letter == "\\":
                    self._escaped = True
                elif letter == '"':
                    self._in_text = False
            elif letter == '"':
                self._in_text = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if not self._depth:
                    self.done = True
                    return text[: index + 1], text[index + 1 :]
        return text, ""


class CallReader:
    """Reads an answer that was held to `tools.constraint_of`."""

    def __init__(self, form: Format, names: Collection[str], *, auto: bool) -> None:
        """`auto`: text may come before the calls, or no call at all."""
        self.form = form
        self.complete = 0
        """Calls whose arguments are complete."""
        self._begun = 0
        self._held = ""
        self._state = "text" if auto else "head"
        self._first = {name: form.begins(name) for name in names}
        self._next = {name: form.follows(name) for name in names}
        self._mark = (form.open or form.head("\0")).split("\0")[0]
        self._scanner: JsonScanner | GemmaScanner = JsonScanner()

    @property
    def cut(self) -> bool:
        """Whether the answer so far ends within a call."""
        return self._state == "arguments" or (self._state == "head" and bool(self._held))

    def push(self, text: str) -> list[Event]:
        """What is certain with `text`."""
        self._held += text
        events: list[Event] = []
        while (step := self._step()) is not None:
            events += step
        return events

    def finish(self) -> list[Event]:
        """What was held back, after the last piece: the beginning of a mark that did not come is text."""
        if self._state not in ("text", "plain"):
            return []
        rest, self._held = self._held, ""
        return [Said(rest)] if rest else []

    def _step(self) -> list[Event] | None:
        """What the held text gives next; None where more must come first."""
        if not self._held:
            return None
        if self._state == "plain":
            text, self._held = self._held, ""
            return [Said(text)]
        if self._state == "text":
            return self._text()
        if self._state in ("head", "tail"):
            return self._head(self._first if self._state == "head" else self._next)
        made, self._held = self._scanner.push(self._held)
        if self._scanner.done:
            self.complete += 1
            self._state = "tail"
        elif not made:
            return None
        return [More(self._begun - 1, made)] if made else []

    def _text(self) -> list[Event] | None:
        if self.form is LLAMA:  # a call is the whole answer
            if self._held.startswith(self._mark):
                self._state = "head"
            elif self._mark.startswith(self._held):
                return None
            else:
                self._state = "plain"
            return []
        start = self._held.find(self._mark)
        if start >= 0:
            self._state = "head"
        else:
            start = next(
                (index for index in range(max(0, len(self._held) - len(self._mark)), len(self._held)) if self._mark.startswith(self._held[index:])),
                len(self._held),
            )  # fmt: skip
            if not start:
                return None
        text, self._held = self._held[:start], self._held[start:]
        return [Said(text)] if text else []

    def _head(self, heads: dict[str, re.Pattern[str]]) -> list[Event] | None:
        for name, head in heads.items():
            if (found := head.match(self._held)) is not None:
                self._held, self._state = self._held[found.end() :], "arguments"
                self._scanner = JsonScanner() if self.form.quote is None else GemmaScanner(self.form.quote)
                self._begun += 1
                return [Begun(self._begun - 1, name)]
        return None
