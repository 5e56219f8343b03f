"""Asks a server by OpenAI's own client and prints what it got as JSON. Usage: ask_openai.py URL MODEL embed|write|tools"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai


def called(message: Any) -> list[list[str]]:
    """[id, name, arguments] of each call in a message."""
    return [[call.id, call.function.name, call.function.arguments] for call in message.tool_calls or []]


def streamed(chunks: Any) -> tuple[list[list[str]], str | None]:
    """The same of a stream, with the reason of its end."""
    calls: dict[int, list[str]] = {}
    finish = None
    for chunk in chunks:
        finish = chunk.choices[0].finish_reason or finish
        for call in chunk.choices[0].delta.tool_calls or []:
            if call.id:
                calls[call.index] = [call.id, call.function.name, ""]
            calls[call.index][2] += call.function.arguments
    return [calls[number] for number in sorted(calls)], finish


url, model, what = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30)
found: dict[str, Any] = {"models": [one.id for one in client.models.list()]}
if what == "tools":
    properties = {"city": {"enum": ["Oslo", "Rome"]}}
    schema = {"type": "object", "properties": properties, "required": ["city"], "additionalProperties": False}
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    talk: Any = [{"role": "user", "content": "the end"}]
    asked = {"model": model, "max_tokens": 100, "seed": 3, "tools": tools}
    whole = client.chat.completions.create(messages=talk, tool_choice="required", parallel_tool_calls=False, **asked)
    message = whole.choices[0].message
    parts = client.chat.completions.create(
        messages=talk, tool_choice="required", parallel_tool_calls=False, stream=True, **asked
    )
    told, finish = streamed(parts)
    history = [*talk, message.model_dump(), {"role": "tool", "tool_call_id": called(message)[0][0], "content": "rain"}]
    after = client.chat.completions.create(messages=history, tool_choice="none", **asked)
    cut = client.chat.completions.create(messages=talk, tool_choice="required", **{**asked, "max_tokens": 12})
    auto = client.chat.completions.create(messages=talk, **asked)
    found |= {
        "called": called(message), "finish": whole.choices[0].finish_reason, "content": message.content,
        "streamed": told, "streamed finish": finish, "after": after.choices[0].message.content,
        "cut": cut.choices[0].finish_reason, "auto": auto.choices[0].finish_reason,
    }  # fmt: skip
    other: Any = {"type": "function", "function": {"name": "a"}}
    calls = {"unknown tool": lambda: client.chat.completions.create(messages=talk, tool_choice=other, **asked)}
elif what == "embed":
    made = client.embeddings.create(model=model, input=["turn on the light", "is it on"])
    found |= {"vectors": [one.embedding for one in made.data], "tokens": made.usage.prompt_tokens}
    calls = {
        "unknown model": lambda: client.embeddings.create(model="other", input="a"),
        "too many": lambda: client.embeddings.create(model=model, input=["a"] * 1000),
        "other task": lambda: client.completions.create(model=model, prompt="a"),
    }
else:
    asked: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": 12}
    whole = client.completions.create(prompt="the end", **asked)
    parts = list(client.completions.create(prompt="the end", stream=True, stream_options={"include_usage": True}, **asked))
    messages: Any = [{"role": "user", "content": "the end"}]
    said = client.chat.completions.create(messages=messages, **asked)
    chunks = list(client.chat.completions.create(messages=messages, stream=True, **asked))
    found |= {
        "text": whole.choices[0].text,
        "ended": whole.choices[0].finish_reason,
        "usage": whole.usage.completion_tokens if whole.usage else None,
        "streamed": "".join(part.choices[0].text for part in parts if part.choices),
        "stream_usage": parts[-1].usage.completion_tokens if parts[-1].usage else None,
        "message": said.choices[0].message.content,
        "message_streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
    }
    schema = {"type": "object", "properties": {"n": {"enum": [1, 22]}}, "required": ["n"], "additionalProperties": False}
    form: Any = {"type": "json_schema", "json_schema": {"name": "numbers", "schema": schema, "strict": True}}
    plain: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": 40, "seed": 5}
    formed = client.chat.completions.create(response_format=form, **plain)
    parsed = list(client.chat.completions.create(response_format=form, stream=True, **plain))
    chosen = client.chat.completions.create(**plain, extra_body={"guided_choice": ["he", "she"]})
    several = client.chat.completions.create(n=3, **plain)
    likely = client.chat.completions.create(logprobs=True, top_logprobs=2, logit_bias={"40": -1}, **plain)
    tokens = likely.choices[0].logprobs.content if likely.choices[0].logprobs else None
    before = client.completions.create(prompt="the end", logprobs=2, **asked).choices[0].logprobs
    found |= {
        "formed": json.loads(formed.choices[0].message.content or ""),
        "formed streamed": json.loads("".join(chunk.choices[0].delta.content or "" for chunk in parsed)),
        "chosen": chosen.choices[0].message.content,
        "several": [choice.index for choice in several.choices],
        "likely": [[one.logprob, len(one.top_logprobs)] for one in tokens or []],
        "likely before": [len(before.tokens or []), len(before.token_logprobs or [])] if before else None,
    }
    client.completions.create(prompt="the end", **asked, extra_body={"top_k": 3, "min_p": 0.1})
    left = client.completions.create(model=model, prompt="the end", max_tokens=100, stream=True)
    next(iter(left))
    left.close()
    calls = {
        "unknown field": lambda: client.completions.create(prompt="a", **asked, extra_body={"temprature": 1}),
        "not a number": lambda: client.completions.create(model=model, prompt="a", temperature=-1),
        "tools": lambda: client.chat.completions.create(
            messages=messages, tools=[{"type": "function", "function": {"name": "clock"}}], **asked
        ),
    }
found["refusals"] = {}
for name, call in calls.items():
    try:
        call()
    except openai.APIStatusError as fault:
        found["refusals"][name] = [type(fault).__name__, fault.status_code, fault.message]
print(json.dumps(found))
