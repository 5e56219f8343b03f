"""Conversations as a bundle's chat template writes them where the bundle is made: what another library of templates must write, letter by letter."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from edgekit.errors import BadInput
from edgekit.runtime.generate.chat import Message, lacking, load_template
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["CONVERSATIONS", "TALKS", "written_conversations"]

CONVERSATIONS = "conversations.json"
DATE = "2024-02-09T08:05:03"
"""What templates are told of the time, so that the same inputs give the same bytes: with days, months and hours of one digit."""
USER, ANSWER = {"role": "user", "content": "Hello, who are you?"}, {"role": "assistant", "content": " I am a model.\n"}
TALKS: tuple[list[Message], ...] = (
    [USER],
    [{"role": "system", "content": "  Be brief. "}, USER],
    [USER, ANSWER, {"role": "user", "content": "Sure?"}],
    [
        {"role": "system", "content": "You speak German."}, {"role": "user", "content": "Grüß Gott!"},
        {"role": "assistant", "content": "Servus 🙂"}, {"role": "user", "content": "<b>&amp;</b> {{ x }} 'q' \"p\""},
        {"role": "assistant", "content": ""}, {"role": "user", "content": "   "},
    ],
    [USER, ANSWER, USER, ANSWER, {"role": "user", "content": "\ufeff\u00a0two\r\nlines\x1f\n"}],
    [USER, ANSWER],
    [ANSWER, USER, USER],
    [{"role": "user", "content": "named", "name": "ada"}, {"role": "other", "content": "Hi"}, {"role": "tool", "content": "{}"}],
)  # fmt: skip
"""With a system message and without, in turn and out of turn, spaces at ends, names, and roles that few templates know."""


def written_conversations(template: Path, tokens: Mapping[str, str]) -> JsonObject | None:
    """The document `conversations.json`: {"date", "conversations": [{"messages", "prompt"}]}, where a prompt is None that the template refuses.
    `tokens`: texts of the tokens that the template in file `template` names. None where jinja2 is not installed, which templates need.

    Raises:
        BadInput: a template that cannot be read.
    """
    if lacking() is not None:
        return None
    written, found = load_template(template, tokens), list[JsonObject]()
    for messages in TALKS:
        prompt: str | None = None
        with suppress(BadInput):
            prompt = written.render(messages, now=DATE)
        found.append({"messages": [*messages], "prompt": prompt})
    return {"date": DATE, "conversations": found}
