"""Chat templates: messages to one prompt. A template is an untrusted program, so it is rendered in a child process with limits."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.files import read_utf8
from edgekit.runtime.generate.child import Child
from edgekit.runtime.generate.render import LONGEST_PROMPT, OLDEST, SECONDS
from edgekit.runtime.generate.tools import Format, Tools, format_of, other_form, read_calls, with_tools_in_system
from edgekit.runtime.jsontypes import JsonObject, JsonValue

__all__ = ["JINJA", "Conversation", "Message", "Template", "checked_messages", "lacking", "load_template"]

Message = JsonObject
"""{"role": "system" | "user" | "assistant" | "tool", "content": text}, perhaps with "name"; of the assistant perhaps with "tool_calls", of a
tool with "tool_call_id", as OpenAI's API has them."""
JINJA = f"jinja2>={'.'.join(map(str, OLDEST))}"
"""What rendering needs beside what every bundle does, as pip reads it."""
LARGEST_TEMPLATE = 512_000
"""Bytes; the largest real ones have some 30,000."""
MOST_MESSAGES = 10_000
MOST_CHARACTERS = 4_000_000
LONG = 24
"""Characters of a message that do not stand in a prompt by chance."""
NAMES = ("edgekit_one", "edgekit_two")
CALLED: tuple[JsonObject, ...] = tuple(
    {"id": f"abcdefgh{number}", "type": "function", "function": {"name": name, "arguments": {"a": "b"}}}
    for number, name in enumerate(NAMES)
)
"""Calls by which it is tried how a template writes them."""
LONGEST_REPLY = 12 * LONGEST_PROMPT + 1000
ROLES = 12
"""Of the first messages, in a fault of the template."""
"""Bytes; JSON needs up to 12 for a character."""


@dataclass(frozen=True)
class Conversation:
    """Messages, and the tools that the next one may call."""

    messages: Sequence[Message]
    tools: Tools | None = None


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
        self._form: Format | None = None

    def form(self) -> Format:
        """The form that it writes calls of tools in.

        Raises:
            BadInput: it reads no tools, or writes calls in another form than those that are known.
            NotPossibleHere: as `render`.
        """
        if self._form is None:
            form = format_of(self.source)
            self._form = form if form.in_system else self._tried(form)
        return self._form

    def _tried(self, form: Format) -> Format:
        """`form`, of which markers in the template speak, as calls of the history are written: perhaps of one call at a time."""
        for count in (1,) if form.single else (1, 2):
            answers = [{"role": "tool", "tool_call_id": str(one["id"]), "content": "c"} for one in CALLED[:count]]
            asked: Message = {"role": "assistant", "content": "", "tool_calls": [*CALLED[:count]]}
            try:
                told = self.render([{"role": "user", "content": "a"}, asked, *answers])
            except BadInput:  # it refuses such a history, and may be right about one call all the same
                return form if count == 1 else replace(form, single=True)
            if NAMES[0] not in told:  # it passes over calls
                return form
            if form.begins(NAMES[0]).search(told) is None:
                raise other_form(self.source)
            if count == 2 and form.goes_on(NAMES[1]).search(told) is None:
                return replace(form, single=True)
        return form

    def prompt(self, messages: Sequence[Message], *, answered: bool = True, tools: Tools | None = None) -> str:
        """As `render`, of messages of which none is left out.

        Raises:
            BadInput: as `render`; the template leaves a message out.
            NotPossibleHere: as `render`.
        """
        prompt = self.render(messages, answered=answered, tools=tools)
        if (number := self._left_out(messages, prompt, answered, tools)) is not None:
            role = str(messages[number]["role"])
            what = f"this model's chat template leaves {role[:40]!r} messages out, so that the model would not read message {number}"
            where = "as the first message, of the role 'system'" if role == "developer" or (role == "system" and number) else ""
            raise BadInput(what, fix=f"say it {where or 'in a message of the user'}")
        return prompt

    def _left_out(self, messages: Sequence[Message], prompt: str, answered: bool, tools: Tools | None) -> int | None:
        """The number of the first of `messages` that `prompt`, rendered of them, does not tell, among those that are neither the user's nor the
        assistant's: many templates pass over a role that they do not know, or over a system message that is not the first. None: all are told.

        Raises:
            NotPossibleHere: as `render`.
        """
        doubtful = []
        for number, message in enumerate(messages):
            text = str(message["content"]).strip()
            if text and message["role"] not in ("user", "assistant") and (len(text) < LONG or text not in prompt):
                doubtful.append(number)
        if not doubtful:
            return None
        marks = {number: f"edgekit{number:05d}told" for number in doubtful}
        marked = [
            {**message, "content": f"{message['content']} {marks[number]}"} if number in marks else message
            for number, message in enumerate(messages)
        ]
        try:
            told = self.render(marked, answered=answered, tools=tools).lower()
        except BadInput:  # one that reads what messages say
            return None
        return next((number for number in doubtful if marks[number] not in told), None)

    def render(
        self, messages: Sequence[Message], *, answered: bool = True, tools: Tools | None = None, now: str | None = None
    ) -> str:
        """The prompt of `messages`, ending where the assistant's answer begins; where none is to follow (`answered`), with the last message.
        `tools`: those that the answer may call; `now`: the time that the template is told (ISO 8601), usually the clock's.

        Raises:
            BadInput: messages that cannot be used, or a template that fails, does not end, or takes too much memory.
            NotPossibleHere: jinja2 is not installed, or too old.
        """
        messages = checked_messages(messages)
        calls = any("tool_calls" in message for message in messages)
        form = format_of(self.source, "tools" if tools is not None else "messages") if tools is not None or calls else None
        documents: list[JsonValue] | None = None if tools is None else [*tools.documents]
        if form is not None and form.in_system:
            messages, documents = with_tools_in_system(messages, tools, form), None
        if self.child.process is None and (what := lacking()) is not None:
            raise NotPossibleHere(what, fix=self.child.fix)
        reply = self.child.ask(
            {
                "source": self.source, "messages": [*messages], "tokens": dict(self.tokens), "answered": answered,
                "tools": documents, "now": now,
            },
            SECONDS,
        )  # fmt: skip
        if reply is None:
            raise BadInput(
                f"the template did not end within {SECONDS:g} s or took too much memory", where=self.where,
                fix="use another template, or no template (--raw)",
            )  # fmt: skip
        if "fault" in reply:
            roles = ", ".join(str(message["role"])[:20] for message in messages[:ROLES]) + (
                ", …" if len(messages) > ROLES else ""
            )
            raise BadInput(
                f"the template cannot be rendered: {reply['fault']} (the roles are {roles})", where=self.where,
                fix="give messages of the roles and in the order that the template takes, or a text that goes in as it is (--raw)",
            )  # fmt: skip
        try:
            reply["text"].encode()
        except UnicodeEncodeError:
            raise BadInput("the template puts out half of a surrogate pair, which is no text", where=self.where) from None
        return reply["text"]


def load_template(path: Path, tokens: Mapping[str, str]) -> Template:
    """The template in file `path`.

    Raises:
        BadInput: too large, or not UTF-8.
    """
    return Template(read_utf8(path, LARGEST_TEMPLATE), tokens, str(path))


def checked_messages(messages: object) -> list[Message]:
    """`messages` as a conversation, with the arguments of calls as objects and the names of what tools answer.

    Raises:
        BadInput: not a list of {"role", "content"} with texts, and perhaps "name", none at all, or too many; calls that cannot be read, or the
            answer of a tool that no message before it called.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise BadInput("a conversation is a list of messages", fix='give [{"role": "user", "content": "..."}]')
    if len(messages) > MOST_MESSAGES:
        raise BadInput(f"{len(messages):,} messages are more than {MOST_MESSAGES:,}")
    faults: list[str] = []
    total, called = 0, dict[str, str]()
    found: list[Message] = []
    for number, message in enumerate(messages):
        further = {"assistant": {"tool_calls"}, "tool": {"tool_call_id"}}.get(_role(message), set())
        if not isinstance(message, dict) or {*message} - {"name"} - further != {"role", "content"}:
            faults.append(f"message {number}: not an object of role and content")
            continue
        for name in {*message} - {"tool_calls"}:
            text = message[name]
            if not isinstance(text, str) or any(0xD800 <= ord(letter) < 0xE000 for letter in text):
                faults.append(f"message {number}: {name} is not text")
            else:
                total += len(text)
        if message["role"] == "":
            faults.append(f"message {number}: role is empty")
        read = dict(message)
        if message.get("tool_calls"):
            read["tool_calls"] = read_calls(message["tool_calls"], f"message {number}", faults)
            called |= {str(one["id"]): str(one["function"]["name"]) for one in read["tool_calls"]}
            total += len(json.dumps(read["tool_calls"]))
        else:
            read.pop("tool_calls", None)
        if "tool_call_id" in message:
            if message["tool_call_id"] not in called:
                faults.append(f"message {number}: tool_call_id {str(message['tool_call_id'])[:60]!r} is of no call before it")
            else:
                read.setdefault("name", called[message["tool_call_id"]])
        found.append(read)
    if total > MOST_CHARACTERS:
        faults.append(f"{total:,} characters are more than {MOST_CHARACTERS:,}")
    if faults:
        raise BadInput("not a conversation", faults=faults[:20])
    return found


def _role(message: object) -> str:
    return str(message.get("role")) if isinstance(message, dict) else ""


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
