"""Chat templates: messages to one prompt. A template is an untrusted program, so it is rendered in a child process with limits."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.files import read_utf8
from edgekit.runtime.generate.child import Child
from edgekit.runtime.generate.render import LONGEST_PROMPT, OLDEST, SECONDS

__all__ = ["JINJA", "Message", "Template", "checked_messages", "lacking", "load_template"]

Message = dict[str, str]
"""{"role": "system" | "user" | "assistant", "content": text}."""
JINJA = f"jinja2>={'.'.join(map(str, OLDEST))}"
"""What rendering needs beside what every bundle does, as pip reads it."""
LARGEST_TEMPLATE = 512_000
"""Bytes; the largest real ones have some 30,000."""
MOST_MESSAGES = 10_000
MOST_CHARACTERS = 4_000_000
LONGEST_REPLY = 12 * LONGEST_PROMPT + 1000
"""Bytes; JSON needs up to 12 for a character."""


class Template:
    """A chat template with the process that renders it."""

    def __init__(self, source: str, tokens: Mapping[str, str], where: str = "chat template") -> None:
        """`tokens`: the texts of bos_token, eos_token and others that templates name; `where` is for messages."""
        self.source = source
        self.tokens = dict(tokens)
        self.where = where
        self.child = Child(
            "edgekit.runtime.generate.render", "chat templates", f"pip install '{JINJA}', or do without (--raw)", LONGEST_REPLY
        )

    def render(self, messages: Sequence[Message], *, answered: bool = True) -> str:
        """The prompt of `messages`, ending where the assistant's answer begins; where none is to follow (`answered`), with the last message.

        Raises:
            BadInput: messages that cannot be used, or a template that fails, does not end, or takes too much memory.
            NotPossibleHere: jinja2 is not installed, or too old.
        """
        messages = checked_messages(messages)
        if self.child.process is None and (what := lacking()) is not None:
            raise NotPossibleHere(what, fix=self.child.fix)
        reply = self.child.ask(
            {"source": self.source, "messages": messages, "tokens": self.tokens, "answered": answered}, SECONDS
        )
        if reply is None:
            raise BadInput(
                f"the template did not end within {SECONDS:g} s or took too much memory", where=self.where,
                fix="use another template, or no template (--raw)",
            )  # fmt: skip
        if "fault" in reply:
            raise BadInput(f"the template cannot be rendered: {reply['fault']}", where=self.where)
        return reply["text"]


def load_template(path: Path, tokens: Mapping[str, str]) -> Template:
    """The template in file `path`.

    Raises:
        BadInput: too large, or not UTF-8.
    """
    return Template(read_utf8(path, LARGEST_TEMPLATE), tokens, str(path))


def checked_messages(messages: object) -> list[Message]:
    """`messages` as a conversation.

    Raises:
        BadInput: not a list of {"role", "content"} with texts, and perhaps "name", none at all, or too many.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise BadInput("a conversation is a list of messages", fix='give [{"role": "user", "content": "..."}]')
    if len(messages) > MOST_MESSAGES:
        raise BadInput(f"{len(messages):,} messages are more than {MOST_MESSAGES:,}")
    faults, total = [], 0
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or {*message} - {"name"} != {"role", "content"}:
            faults.append(f"message {number}: not an object of role and content")
            continue
        for name, text in message.items():
            if not isinstance(text, str) or any(0xD800 <= ord(letter) < 0xE000 for letter in text):
                faults.append(f"message {number}: {name} is not text")
            else:
                total += len(text)
        if message["role"] == "":
            faults.append(f"message {number}: role is empty")
    if total > MOST_CHARACTERS:
        faults.append(f"{total:,} characters are more than {MOST_CHARACTERS:,}")
    if faults:
        raise BadInput("not a conversation", faults=faults[:20])
    return list(messages)


def lacking() -> str | None:
    """What templates need and this Python has not; None where it has all."""
    if importlib.util.find_spec("jinja2") is None:
        return "chat templates need jinja2, which is not installed"
    try:
        version = metadata.version("jinja2")
    except metadata.PackageNotFoundError:  # the process that renders will say
        return None
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
    return f"chat templates need {JINJA}, and {version} is installed" if numbers < OLDEST else None
