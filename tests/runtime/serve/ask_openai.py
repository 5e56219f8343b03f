"""Asks a server by OpenAI's own client and prints what it got as JSON. Usage: ask_openai.py URL MODEL embed|write"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai

url, model, what = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30)
found: dict[str, Any] = {"models": [one.id for one in client.models.list()]}
if what == "embed":
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
