"""A conversation with a language model at a terminal: what is typed is answered, with all that was said before; lines that begin with / command."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgekit.runtime.errors import BadInput, EdgekitError, NotPossibleHere
from edgekit.runtime.generate.answer import Answer
from edgekit.runtime.generate.chat import JINJA, Message, checked_messages, lacking
from edgekit.runtime.generate.model import LanguageModel, Prompt
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.generate.show import shown_answer
from edgekit.runtime.items import at_terminal
from edgekit.runtime.outputs import cannot_write, check_output_file, write_atomically
from edgekit.runtime.shown import visible
from edgekit.runtime.strict_json import read_json

try:
    import readline
except ImportError:  # lines are then edited as the terminal itself lets them
    readline = None  # type: ignore[assignment]

__all__ = ["HINT", "PLAIN", "Talk", "read_messages", "talk"]

HINT = "Ctrl-C stops an answer, and twice at an empty line leaves; /help says what else there is."
AGAIN = "Ctrl-C once more leaves."
PLAIN = "There is no chat template: what you type is gone on with, as one text."
COMMANDS = {
    "/help": "this list",
    "/system TEXT": "what the model is told before all else from now on; without TEXT: nothing",
    "/retry": "another answer to what was said last",
    "/save FILE": "write what was said to FILE, as JSON",
    "/load FILE": "go on with what such a file says",
    "/clear": "forget what was said",
    "/quit": "leave, as Ctrl-D does",
}
COMMAND = re.compile(r"(/[a-z]+)(?:\s+(\S.*))?")
"""A line that is a command, with what follows it; other lines that begin with / are said to the model."""
ENDED = {"length": "; cut at --max-new-tokens", "context": "; cut where the context is full", "interrupted": "; stopped"}
STOPPED = "stopped before the first token"
ROLES = ("user", "assistant")
"""Whose messages take turns, after a system message or none."""


class Talk:
    """What was said so far, and how the model is asked. In `chat` it is a conversation for the chat template; otherwise one text that
    goes on, in which each line that was typed begins a line of its own."""

    def __init__(self, model: LanguageModel, sampling: Sampling, *, chat: bool) -> None:
        self.model, self.sampling, self.chat = model, sampling, chat
        self.system: Message | None = None
        self.messages: list[Message] = []
        """Of the user and of the model in turn; the last is the model's."""
        self.left_out = 0
        """Messages at the beginning that have no room in the context any more."""
        self.asked: str | None = None
        """What was said to the model last."""
        self.answered = False
        """Whether the last two messages are that and its answer."""
        self.tries = 0

    def say(self, text: str) -> None:
        """Answer `text`, print it as it comes, and what it took; a text that cannot be used changes nothing.

        Raises:
            EdgekitError: as `LanguageModel.stream`.
        """
        self.asked, self.tries = text, 0
        self._answer(text)

    def retry(self) -> None:
        """Answer once more what was said last, drawing anew; without a new answer the last one stays.

        Raises:
            BadInput: nothing was said.
            EdgekitError: as `LanguageModel.stream`.
        """
        if self.asked is None:
            raise BadInput("nothing was said that could be answered again")
        kept = self.messages, self.left_out, self.answered
        if self.answered:
            self.messages = self.messages[:-2]
            self.left_out = min(self.left_out, len(self.messages))
        self.tries += 1
        try:
            answer = self._answer(self.asked)
        except (EdgekitError, KeyboardInterrupt):
            self.messages, self.left_out, self.answered = kept
            raise
        if not answer.tokens:
            self.messages, self.left_out, self.answered = kept
        elif kept[2] and answer.text == kept[0][-1]["content"] and not self.sampling.temperature:
            print("The same: nothing is drawn at temperature 0. --temperature 0.8 of `run` has it drawn.")

    def _answer(self, text: str) -> Answer:
        self.answered = False
        prompt, left_out = self._prompt(text)
        if left_out > self.left_out:
            context = self.model.generation.context
            print(f"The context of {context:,} tokens is full: the first {left_out} messages are no longer read.")
        started = time.perf_counter()
        times: list[float] = []
        sampling = replace(self.sampling, seed=(self.sampling.seed + self.tries) % 2**63)
        answer = shown_answer(
            self.model, prompt, sampling, show=True, heard=lambda number: times.append(time.perf_counter() - started)
        )
        print()
        if answer.tokens:
            self.left_out, self.answered = left_out, True
            self.messages = [*self.messages, {"role": "user", "content": text}, {"role": "assistant", "content": answer.text}]
        print(_dim(_took(answer, times)))
        return answer

    def _prompt(self, text: str) -> tuple[Prompt, int]:
        """(what the model reads so that it answers `text`, how many of the first messages are not in it).

        Where there is no room left for an answer, half of the context is freed, so that what is read stays the beginning of the next
        prompt for a while and is not read again.
        """
        context = self.model.generation.context
        room = min(self.sampling.max_new_tokens, context // 4)
        left_out, most = self.left_out, context - room
        while True:
            prompt = self._with(self.messages[left_out:], text)
            if len(self.model.encode(prompt)) <= most or left_out >= len(self.messages):
                return prompt, left_out
            left_out, most = left_out + 2, context // 2

    def _with(self, before: list[Message], text: str) -> Prompt:
        if self.chat:
            system = [] if self.system is None else [self.system]
            return [*system, *before, {"role": "user", "content": text}]
        said = [
            ("\n" if number and message["role"] == "user" else "") + str(message["content"])
            for number, message in enumerate(before)
        ]
        return "".join([*said, *(["\n"] if before else []), text])

    def tell(self, text: str | None) -> None:
        """Set the system message, or remove it.

        Raises:
            BadInput: there is no chat template, or it refuses such a message or leaves it out.
        """
        if not self.chat:
            raise BadInput("without a chat template there is no system message", fix="begin the text with it")
        before, self.system = self.system, None if text is None else {"role": "system", "content": text}
        try:
            self.model.encode(self._with([], "."))
        except BadInput:
            self.system = before
            raise

    def clear(self) -> None:
        """Forget what was said; what the model is told before stays."""
        self.messages, self.left_out, self.asked, self.answered, self.tries = [], 0, None, False, 0

    def save(self, path: Path) -> None:
        """Write all that was said to `path`, which is there whole or not at all.

        Raises:
            BadInput, NotPossibleHere: it cannot be written, or holds something else than a conversation.
        """
        messages = [*([] if self.system is None else [self.system]), *self.messages]
        if not messages:
            raise BadInput("nothing was said yet")
        check_output_file(path, "/save")
        if path.exists():
            try:
                read_messages(path)
            except BadInput:
                raise BadInput(
                    "holds something else than a conversation", where=f"/save {path}", fix="name another file"
                ) from None
        try:
            write_atomically(path, json.dumps({"messages": messages}, ensure_ascii=False, indent=1) + "\n")
        except OSError as fault:
            raise cannot_write(fault, f"/save {path}") from None

    def load(self, path: Path) -> None:
        """Go on with the conversation in `path`; a message at its end that nobody answered is what `retry` answers.

        Raises:
            BadInput: no such conversation, or a system message without a chat template.
        """
        system, messages = read_messages(path)
        if system is not None and not self.chat:
            raise BadInput("it begins with a system message, which needs a chat template", where=str(path))
        self.clear()
        asked = messages[-1] if len(messages) % 2 else messages[-2] if messages else None
        self.system, self.messages = system, messages[: len(messages) // 2 * 2]
        self.asked = None if asked is None else str(asked["content"])
        self.answered = bool(messages) and len(messages) % 2 == 0


def read_messages(path: Path) -> tuple[Message | None, list[Message]]:
    """(the system message, if there is one; the messages of user and model in turn) of a file {"messages": [...]}, or of the list alone.

    Raises:
        BadInput: no such file, or no such conversation.
    """
    document = read_json(path)
    given = document["messages"] if isinstance(document, dict) and set(document) == {"messages"} else document
    try:
        messages = checked_messages(given)
    except BadInput as fault:
        raise BadInput(fault.what, where=str(path), fix=fault.fix, faults=fault.faults) from None
    system = messages[0] if messages[0]["role"] == "system" else None
    rest = messages[system is not None :]
    for number, message in enumerate(rest):
        if message["role"] != ROLES[number % 2]:
            place = number + (system is not None)
            what = f"message {place} is of {message['role']!r} where {ROLES[number % 2]!r} is next"
            raise BadInput(what, where=str(path), fix="user and assistant take turns, after a system message or none")
    return system, rest


def talk(model: LanguageModel, sampling: Sampling, *, chat: bool) -> None:
    """Answer the lines that are typed at the terminal until somebody leaves; with `chat`, by the chat template.

    Raises:
        NotPossibleHere: the chat template needs what is not installed.
    """
    if chat and (what := lacking()) is not None:
        raise NotPossibleHere(what, fix=f"pip install '{JINJA}', or do without (--raw)")
    print(HINT)
    if not chat:
        print(PLAIN)
    state = Talk(model, sampling, chat=chat)
    while (line := _typed()) is not None:
        if not line.strip():
            continue
        command = COMMAND.fullmatch(line.rstrip())
        try:
            if command is None:
                state.say(line)
            elif command[1] == "/quit":
                return
            else:
                _obey(state, command[1], command[2])
        except EdgekitError as fault:
            print(fault.text())
        except KeyboardInterrupt:  # it came before the model began, or after it ended
            print(f"\n{STOPPED}")


def _obey(state: Talk, name: str, rest: str | None) -> None:
    """Do what the command `name` says; `rest`: what was typed after it."""

    def file(act: Callable[[Path], None]) -> Path:
        if rest is None:
            raise BadInput(f"{name} needs the name of a file", fix=f"{name} talk.json")
        path = Path(os.path.expanduser(rest))  # noqa: PTH111 - never raises
        act(path)
        return path

    if name == "/system":
        state.tell(rest)
        print("The system message is set." if rest else "There is no system message.")
    elif name == "/save":
        print(visible(f"{file(state.save)}: {_count(state)} written"))
    elif name == "/load":
        print(
            visible(
                f"{file(state.load)}: {_count(state)} read"
                + ("" if state.answered or not state.asked else "; /retry answers the last")
            )
        )
    elif name in ("/retry", "/clear", "/help") and rest is not None:
        raise BadInput(f"{name} takes nothing after it")
    elif name == "/retry":
        state.retry()
    elif name == "/clear":
        state.clear()
        print("What was said is forgotten" + (", the system message kept." if state.system else "."))
    elif name == "/help":
        print("\n".join(f"{command:<14}{what}" for command, what in COMMANDS.items()))
    else:
        raise BadInput(f"there is no command {name}", fix="/help lists those that there are; a blank before it makes it a text")


def _count(state: Talk) -> str:
    count = len(state.messages) + (state.system is not None)
    return f"{count} message{'' if count == 1 else 's'}"


def _typed() -> str | None:
    """The next line; "" where Ctrl-C took back what was typed; None where somebody leaves, by a second Ctrl-C at an empty line at the
    earliest: the first may have been meant for an answer that had just ended."""
    pressed = False
    while True:
        try:
            return input("> ")
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print()
            if readline is not None and readline.get_line_buffer():
                return ""
            if pressed:
                return None
            print(AGAIN)
            pressed = True


def _took(answer: Answer, times: list[float]) -> str:
    """How long an answer took, of whose pieces each came after `times` seconds."""
    count = len(answer.tokens)
    if not count:
        return STOPPED
    rate = f", then {(count - 1) / max(times[count - 1] - times[0], 1e-9):,.1f} a second" if count > 1 else ""
    return f"{count} token{'' if count == 1 else 's'}: the first after {times[0]:.2f} s{rate}{ENDED.get(answer.ended, '')}"


def _dim(text: str) -> str:
    plain = not at_terminal(sys.stdout) or os.environ.get("TERM", "dumb") == "dumb" or os.environ.get("NO_COLOR")
    return text if plain else f"\x1b[2m{text}\x1b[0m"
