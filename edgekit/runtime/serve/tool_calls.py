"""Calls of tools in answers, as OpenAI's API tells them: in a message, and in the deltas of a stream."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from edgekit.runtime.generate.calls import Begun, Event, More, Said
from edgekit.runtime.jsontypes import JsonObject, JsonValue

__all__ = ["called_message", "deltas"]


def called_message(events: Sequence[Event], request: str, choice: int) -> JsonObject:
    """The message that `events` of one answer form; `request`: its id, of which the ids of calls are made."""
    text = "".join(event.text for event in events if isinstance(event, Said))
    calls: list[JsonValue] = []
    for begun in (event for event in events if isinstance(event, Begun)):
        arguments = "".join(event.arguments for event in events if isinstance(event, More) and event.number == begun.number)
        function: JsonObject = {"name": begun.name, "arguments": arguments}
        calls.append({"id": _id(request, choice, begun.number), "type": "function", "function": function})
    if not calls:
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": text or None, "tool_calls": calls}


def deltas(events: Sequence[Event], request: str, choice: int) -> list[JsonObject]:
    """The deltas of a stream that tell `events`."""
    found: list[JsonObject] = []
    for event in events:
        if isinstance(event, Said):
            found.append({"content": event.text})
        elif isinstance(event, Begun):
            function: JsonObject = {"name": event.name, "arguments": ""}
            call: JsonObject = {
                "index": event.number,
                "id": _id(request, choice, event.number),
                "type": "function",
                "function": function,
            }
            found.append({"tool_calls": [call]})
        else:
            found.append({"tool_calls": [{"index": event.number, "function": {"arguments": event.arguments}}]})
    return found


def _id(request: str, choice: int, number: int) -> str:
    """Nine letters or digits, which Mistral's templates demand; of many calls in one conversation no two are likely to be the same."""
    return hashlib.sha256(f"{request} {choice} {number}".encode()).hexdigest()[:9]
