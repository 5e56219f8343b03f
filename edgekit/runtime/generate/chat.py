"""Chat templates: messages to one prompt. A template is an untrusted program, so it is rendered in a child process with limits."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from threading import Lock, Timer

from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.files import read_utf8
from edgekit.runtime.forks import at_exit_here, renew_in_children
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
SECONDS_TO_START = 60.0
LONGEST_REPLY = 12 * LONGEST_PROMPT + 1000
"""Bytes; JSON needs up to 12 for a character."""


class Template:
    """A chat template with the process that renders it, which is started when it is first needed and again after a fault."""

    def __init__(self, source: str, tokens: Mapping[str, str], where: str = "chat template") -> None:
        """`tokens`: the texts of bos_token, eos_token and others that templates name; `where` is for messages."""
        self.source = source
        self.tokens = dict(tokens)
        self.where = where
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a process of its own renders; the parent's goes on, and hears and says nothing here."""
        self._lock = Lock()
        process, self._process = self._process, None
        for pipe in (process.stdin, process.stdout) if process is not None else ():
            if pipe is not None and not pipe.closed:  # closing it would write out what the parent has left in its buffer
                nothing = os.open(os.devnull, os.O_RDWR)
                os.dup2(nothing, pipe.fileno())
                os.close(nothing)

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt of `messages`, ending where the assistant's answer begins.

        Raises:
            BadInput: messages that cannot be used, or a template that fails, does not end, or takes too much memory.
            NotPossibleHere: jinja2 is not installed, or too old.
        """
        messages = checked_messages(messages)
        request = json.dumps({"source": self.source, "messages": messages, "tokens": self.tokens}).encode() + b"\n"
        with self._lock:
            process, self._process = self._process, None
            if process is None or process.poll() is not None:
                process = self._start()
            reply = _asked(process, request, SECONDS)
            if reply is None:
                raise BadInput(
                    f"the template did not end within {SECONDS:g} s or took too much memory", where=self.where,
                    fix="use another template, or no template (--raw)",
                )  # fmt: skip
            self._process = process  # only now: after Ctrl-C, a late reply must not be taken for the next one
        if "fault" in reply:
            raise BadInput(f"the template cannot be rendered: {reply['fault']}", where=self.where)
        return reply["text"]

    def _start(self) -> subprocess.Popen[bytes]:
        process = _started()
        at_exit_here(self, _ended, process)
        return process


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


def _started() -> subprocess.Popen[bytes]:
    """A process that is ready to render; it runs in a session of its own, so that Ctrl-C does not reach it."""
    if (what := lacking()) is not None:
        raise NotPossibleHere(what, fix=f"pip install '{JINJA}', or do without (--raw)")
    here = str(Path(__file__).parents[3].absolute())  # the folder that holds edgekit, or the runner archive itself
    paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit.runtime.generate.render"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": paths}, start_new_session=True,
    )  # fmt: skip
    reply = _asked(process, b"", SECONDS_TO_START)
    if reply is None or "fault" in reply:
        _ended(process)
        raise NotPossibleHere(
            f"the process for chat templates did not start: {(reply or {}).get('fault', 'no answer')}",
            fix=f"pip install '{JINJA}', or do without (--raw)",
        )
    return process


def _asked(process: subprocess.Popen[bytes], request: bytes, seconds: float) -> dict[str, str] | None:
    """The process' next line after `request`; None, and its end, where it dies, replies something else than JSON, or takes more than `seconds`."""
    assert process.stdin is not None and process.stdout is not None, "both are pipes"
    timer = Timer(seconds, process.kill)
    timer.start()
    reply: dict[str, str] | None = None
    try:
        process.stdin.write(request)
        process.stdin.flush()
        reply = json.loads(process.stdout.readline(LONGEST_REPLY))
    except (OSError, ValueError):
        pass
    finally:  # after Ctrl-C too
        timer.cancel()
        if reply is None:
            _ended(process)
    return reply


def _ended(process: subprocess.Popen[bytes]) -> None:
    """End `process`, if it has not ended, and close its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            if pipe is not None:
                pipe.close()
