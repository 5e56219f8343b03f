"""Tools over HTTP: calls in messages and in deltas, histories with calls, and what is refused."""

# ruff: noqa: E501 - requests as they are sent

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from edgekit.runtime.generate.calls import Begun
from edgekit.runtime.serve.tool_calls import deltas
from tests.runtime.generate.test_tools import GIVEN, SCHEMAS
from tests.runtime.serve.serving import Server
from tests.runtime.serve.test_serve_forms import CHAT, chunks

USER = {"role": "user", "content": "the end"}


def ask(server: Server, **fields: Any) -> tuple[int, Any]:
    asked = {"model": server.name, "messages": [USER], "tools": GIVEN, "max_tokens": 110, "seed": 3, **fields}
    status, _, found = server.ask("POST", CHAT, asked)
    return status, found


def joined(data: bytes) -> list[dict[str, Any]]:
    """The calls of a stream, put together as a client does."""
    calls: dict[int, dict[str, Any]] = {}
    for part in chunks(data):
        for delta in part["choices"][0]["delta"].get("tool_calls", []):
            if "id" in delta:
                assert delta["index"] not in calls
                calls[delta["index"]] = {"id": delta["id"], "type": delta["type"], "function": dict(delta["function"])}
            else:
                calls[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]
    return [calls[number] for number in sorted(calls)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_calls_whole_and_streamed(calling: Server, seed: int) -> None:
    fields = {"tool_choice": "required", "parallel_tool_calls": False, "seed": seed}
    status, found = ask(calling, **fields)
    assert status == 200, found
    (choice,) = found["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["message"]["content"] is None and call["type"] == "function" and len(call["id"]) == 9
    if choice["finish_reason"] == "tool_calls":
        jsonschema.validate(json.loads(call["function"]["arguments"]), SCHEMAS[call["function"]["name"]])
    else:
        assert choice["finish_reason"] == "length"
    _, data = ask(calling, stream=True, **fields)
    assert [one["function"] for one in joined(data)] == [call["function"]]
    parts = [part["choices"][0] for part in chunks(data)]
    assert parts[-1]["finish_reason"] == choice["finish_reason"]
    assert sum("tool_calls" in part["delta"] for part in parts) >= 3, "arguments come in pieces"
    assert all("tool_calls" in part["delta"] for part in parts[2:-1]), (
        "tokens of a call's head say nothing yet, and are no parts"
    )


def test_a_named_tool_and_several_answers(calling: Server) -> None:
    _, found = ask(calling, tool_choice={"type": "function", "function": {"name": "clock"}}, parallel_tool_calls=False, n=2)
    for choice in found["choices"]:
        assert [one["function"] for one in choice["message"]["tool_calls"]] == [{"name": "clock", "arguments": "{}"}]
        assert choice["finish_reason"] == "tool_calls"
    assert len({choice["message"]["tool_calls"][0]["id"] for choice in found["choices"]}) == 2


def test_a_call_that_is_cut_is_said(calling: Server) -> None:
    named = {"type": "function", "function": {"name": "light"}}
    _, found = ask(calling, tool_choice=named, max_tokens=40)
    (choice,) = found["choices"]
    assert choice["finish_reason"] == "length" and choice["message"]["tool_calls"][0]["function"]["name"] == "light"
    _, data = ask(calling, tool_choice=named, max_tokens=40, stream=True)
    assert chunks(data)[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stop", ["Oslo", "Rome", "tool_call", "name", "city", "clock"])
def test_a_stop_text_within_a_call_cuts_it(calling: Server, stop: str) -> None:
    """It is said as the token limit is: whoever reads that the answer stopped would take what is there for a whole call."""
    for required in ("weather", "clock"):
        fields = {
            "tool_choice": {"type": "function", "function": {"name": required}},
            "parallel_tool_calls": False,
            "stop": [stop],
        }
        _, found = ask(calling, temperature=0, **fields)
        (choice,) = found["choices"]
        calls = choice["message"].get("tool_calls", [])
        if choice["finish_reason"] == "tool_calls":
            assert stop not in str(calls) and json.loads(calls[0]["function"]["arguments"]) is not None
        else:
            assert choice["finish_reason"] == "length"
        _, data = ask(calling, temperature=0, stream=True, **fields)
        assert chunks(data)[-1]["choices"][0]["finish_reason"] == choice["finish_reason"]


def test_calls_of_one_conversation_have_ids_of_their_own() -> None:
    ids = {
        deltas([Begun(number, "a")], f"chatcmpl-{request:024x}", 300)[0]["tool_calls"][0]["id"]
        for number in range(20)
        for request in range(200)
    }  # type: ignore[index, call-overload]
    assert len(ids) == 4000 and all(re.fullmatch("[a-z0-9]{9}", one) for one in ids)


def test_text_where_no_call_comes(calling: Server) -> None:
    language = calling.app.model.language
    assert language is not None
    mark = language.tokenizer.token_to_id("<tool_call>")
    _, found = ask(calling, logit_bias={str(mark): -100}, max_tokens=5)
    assert found["choices"][0]["message"]["content"] and "tool_calls" not in found["choices"][0]["message"]
    _, found = ask(calling, tool_choice="none", max_tokens=5)
    assert "tool_calls" not in found["choices"][0]["message"]


def test_a_history_with_calls(calling: Server) -> None:
    _, found = ask(calling, tool_choice={"type": "function", "function": {"name": "clock"}})
    message = found["choices"][0]["message"]
    answer = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "six"}
    status, found = ask(calling, messages=[USER, message, answer], max_tokens=5, tool_choice="none")
    assert status == 200, found
    for changes, says in (
        ([USER, answer], "is of no call before it"),
        ([USER, {**message, "tool_calls": [{"id": "a"}]}], "has no id and function"),
        ([USER, {"role": "assistant", "content": None}], "role and content must be texts"),
        ([USER, message, {**answer, "content": "</s>"}], "control token"),
    ):
        status, found = ask(calling, messages=changes, max_tokens=5)
        assert status == 400 and says in found["error"]["message"], found


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "object", "properties": {"a": {"$ref": "http://a/b"}}}}}]}, "it names another document, 'http://a/b'"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "is no name"),
        ({"tool_choice": "any"}, "tool_choice: 'any' is not supported"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"response_format": {"type": "json_object"}}, "an answer that may call them has no other form"),
    ],
)  # fmt: skip
def test_what_is_refused(calling: Server, fields: dict[str, Any], says: str) -> None:
    status, found = ask(calling, **fields)
    assert status == 400 and says in found["error"]["message"], found
