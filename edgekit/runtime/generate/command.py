"""`run` for language models: answers to texts as they come, and a conversation where a person sits at the terminal."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.answer import Answer, Piece, whole
from edgekit.runtime.generate.chat import Message
from edgekit.runtime.generate.model import LanguageModel, Prompt, asked
from edgekit.runtime.generate.sample import Sampling, parse_sampling

__all__ = ["run_language", "talk"]

HINT = "Ctrl-C stops an answer; /new begins anew; /quit, Ctrl-D or Ctrl-C at the prompt leaves."


def run_language(
    model: LanguageModel, items: Sequence[Any] | None, given: dict[str, Any], *, as_json: bool
) -> list[dict[str, Any]]:
    """Answer `items` one after another, each a text or {"messages": [...]}; None: converse with the terminal.

    `given` holds the fields of Sampling and `chat` by name, None where not given. Answers go to standard output as they come,
    without the last one's line end, unless `as_json`. Returns {"text", "ended", "prompt_tokens", "new_tokens"} of each; Ctrl-C ends
    the last answer there is, whose "ended" says so.

    Raises:
        BadInput, CheckFailed: as `LanguageModel.stream`.
    """
    chat = (model.template is not None) if given.get("chat") is None else given["chat"]
    if chat and model.template is None:
        raise BadInput("this bundle has no chat template", fix="leave --chat out")
    sampling = parse_sampling({name: value for name, value in given.items() if name != "chat" and value is not None})
    if items is None:
        talk(model, sampling, chat=chat)
        return []
    answers: list[dict[str, Any]] = []
    for item in items:
        prompt = asked(item, chat=chat)
        if answers and not as_json:
            print()
        answer = _answer(model, prompt, sampling, show=not as_json)
        answers.append(answer.document())
        if answer.ended == "interrupted":
            break
    return answers


def talk(model: LanguageModel, sampling: Sampling, *, chat: bool) -> None:
    """Read lines from the terminal and answer each as it comes; with `chat`, as one conversation."""
    with suppress(ImportError):
        import readline  # noqa: F401  (input() then has a history and can be edited)
    print(HINT)
    history: list[Message] = []
    while True:
        try:
            line = input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if line.strip() == "/quit":
            return
        if line.strip() == "/new":
            history = []
        elif line.strip():
            said = [*history, {"role": "user", "content": line}]
            try:
                answer = _answer(model, said if chat else line, sampling, show=True)
            except BadInput as fault:
                print(fault.text())
                continue
            print()
            if answer.tokens:
                history = [*said, {"role": "assistant", "content": answer.text}]


def _answer(model: LanguageModel, prompt: Prompt, sampling: Sampling, *, show: bool) -> Answer:
    """The answer to `prompt`, shown as it comes, without a line end."""
    pieces: list[Piece] = []
    stream = model.stream(prompt, sampling)
    try:
        for piece in stream:
            pieces.append(piece)
            if show:
                print(_visible(piece.text) if sys.stdout.isatty() else piece.text, end="", flush=True)
    except KeyboardInterrupt:  # it came while a piece was shown, not while it was made
        stream.close()
    return whole(pieces, len(model.encode(prompt)))


def _visible(text: str) -> str:
    """`text` without the control characters by which it could command a terminal."""
    return "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter) != "Cc")
