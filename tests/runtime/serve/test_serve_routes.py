"""What a good client asks and gets, on both transports."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.runtime.generate import chat
from edgekit.runtime.generate.chat import Template
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.model import load
from edgekit.runtime.serve.app import App
from edgekit.runtime.serve.command import unanswered, uncalled
from edgekit.runtime.serve.message import Request
from tests.runtime.generate.tool_templates import QWEN
from tests.runtime.serve.serving import LIMITS, TEXTS, Server, served


def events(data: bytes) -> list[Any]:
    """The documents of server-sent events, which must end with [DONE]."""
    lines = [line.removeprefix("data: ") for line in data.decode().split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_health_and_metadata(classifying: Server) -> None:
    base = "/v2/models/tiny-text-classification"
    for path in ("/v2/health/live", "/v2/health/ready", f"{base}/ready", f"{base}/versions/1/ready"):
        assert classifying.ask("GET", path)[0] == 200
    status, headers, found = classifying.ask("GET", "/v2")
    assert (status, headers["content-type"], found["name"]) == (200, "application/json", "edgekit")
    _, _, found = classifying.ask("GET", base)
    text = {"name": "text", "datatype": "BYTES", "shape": [-1]}
    assert found["inputs"] == [text, {**text, "name": "text_pair", "optional": True}]
    assert [one["name"] for one in found["outputs"]] == ["label", "score", "truncated"]


def test_a_head_request_has_the_length_and_no_body(classifying: Server) -> None:
    length = classifying.ask("GET", "/v2")[1]["content-length"]
    status, headers, body = classifying.ask("HEAD", "/v2")
    assert (status, headers["content-length"], body) == (200, length, b"")


def test_an_answer_is_the_models_own(classifying: Server) -> None:
    model = classifying.app.model
    status, found = classifying.infer(TEXTS[:3], id="seven")
    assert (status, found["id"], found["model_name"]) == (200, "seven", "tiny-text-classification")
    outputs = {one["name"]: one for one in found["outputs"]}
    wanted = model(TEXTS[:3])
    assert outputs["label"]["data"] == [answer["label"] for answer in wanted]
    assert outputs["score"]["data"] == pytest.approx([answer["score"] for answer in wanted])
    assert outputs["label"]["shape"] == [3, 1]
    assert outputs["truncated"] == {"name": "truncated", "datatype": "BOOL", "shape": [3], "data": [False] * 3}


def test_top_k_and_chosen_outputs(classifying: Server) -> None:
    status, found = classifying.infer(["is it on"], parameters={"top_k": 3}, outputs=[{"name": "label"}])
    assert status == 200
    (output,) = found["outputs"]
    assert output["shape"] == [1, 3]
    assert sorted(output["data"]) == ["ask", "off", "on"]


def test_binary_tensors_both_ways(classifying: Server) -> None:
    texts = [text.encode() for text in TEXTS[:2]]
    blob = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2, 1], "parameters": {"binary_data_size": len(blob)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    status, answered, body = classifying.ask("POST", "/v2/models/tiny-text-classification/infer", head + blob, headers)
    assert status == 200
    size = int(answered["Inference-Header-Content-Length"])
    label, _, truncated = json.loads(body[:size])["outputs"]
    rest = body[size:]
    assert label["parameters"]["binary_data_size"] + 8 + 2 == len(rest)
    (length,) = struct.unpack_from("<I", rest)
    wanted = classifying.app.model(TEXTS[:2])
    assert rest[4 : 4 + length].decode() == wanted[0]["label"]
    place = label["parameters"]["binary_data_size"]
    assert np.frombuffer(rest[place : place + 8], "<f4").tolist() == pytest.approx([one["score"] for one in wanted])
    assert truncated["parameters"]["binary_data_size"] == 2


def test_embeddings_as_numbers_and_as_base64(embedding: Server) -> None:
    wanted = [embedding.app.model(text)["embedding"] for text in TEXTS[:2]]
    asked = {"model": "tiny-feature-extraction", "input": TEXTS[:2]}
    status, _, found = embedding.ask("POST", "/v1/embeddings", asked)
    assert status == 200
    assert [one["embedding"] for one in found["data"]] == [pytest.approx(vector) for vector in wanted]
    assert found["usage"] == {"prompt_tokens": 6 + 7, "total_tokens": 6 + 7}
    _, _, found = embedding.ask("POST", "/v1/embeddings", {**asked, "input": TEXTS[0], "encoding_format": "base64"})
    vector = np.frombuffer(base64.b64decode(found["data"][0]["embedding"]), "<f4")
    assert vector.tolist() == pytest.approx(wanted[0])
    status, found = embedding.infer(TEXTS[:2])
    assert (status, found["outputs"][0]["shape"]) == (200, [2, len(wanted[0])])


def test_a_completion_is_the_models_own(writing: Server) -> None:
    asked = {"model": writing.name, "prompt": ["the end", "a"], "temperature": 0, "max_tokens": 12}
    status, _, found = writing.ask("POST", "/v1/completions", asked)
    assert status == 200
    language = load(writing.app.model.bundle.folder).language
    assert language is not None
    wanted = [language.generate(prompt, Sampling(max_new_tokens=12)) for prompt in asked["prompt"]]
    assert [choice["text"] for choice in found["choices"]] == [answer.text for answer in wanted]
    assert found["usage"]["completion_tokens"] == sum(len(answer.tokens) for answer in wanted)
    status, answer = writing.infer(["the end"], parameters={"max_new_tokens": 12})
    assert (status, answer["outputs"][0]["data"]) == (200, [wanted[0].text])


def test_stop_tokens_on_every_route(writing: Server) -> None:
    language = writing.app.model.language
    assert language is not None
    said = language.encode("the end").tolist()
    asked = {"model": writing.name, "prompt": said, "temperature": 0, "max_tokens": 12}
    _, _, whole = writing.ask("POST", "/v1/completions", asked)
    tokens = language.generate(np.array(said), Sampling(max_new_tokens=12)).tokens
    stopped = {**asked, "stop_token_ids": [tokens[4]]}
    _, _, found = writing.ask("POST", "/v1/completions", stopped)
    assert found["usage"]["completion_tokens"] == tokens.index(tokens[4]) + 1 < whole["usage"]["completion_tokens"]
    assert found["choices"][0]["finish_reason"] == "stop"
    status, answer = writing.infer(["the end"], parameters={"max_new_tokens": 12, "stop_token_ids": [tokens[4]]})
    assert (status, answer["outputs"][1]["data"]) == (200, ["stop"])


def test_a_stream_says_the_same_piece_by_piece(writing: Server) -> None:
    asked = {"model": writing.name, "prompt": "the end", "max_tokens": 20, "seed": 3, "temperature": 0.9}
    _, _, whole = writing.ask("POST", "/v1/completions", asked)
    streamed = {**asked, "stream": True, "stream_options": {"include_usage": True}}
    status, headers, data = writing.ask("POST", "/v1/completions", streamed)
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    found = events(data)
    assert "".join(one["choices"][0]["text"] for one in found[:-1]) == whole["choices"][0]["text"]
    assert found[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    usages = [{**one["usage"], "completion_tokens_details": None} for one in (found[-1], whole)]  # which depend on the clock
    assert found[-1]["choices"] == [] and usages[0] == usages[1]


def test_token_ids_are_a_prompt(writing: Server) -> None:
    language = writing.app.model.language
    assert language is not None
    asked = {"model": writing.name, "temperature": 0, "max_tokens": 5}
    ids = language.encode("the end").tolist()
    text, tokens = (writing.ask("POST", "/v1/completions", {**asked, "prompt": prompt})[2] for prompt in ("the end", ids))
    assert text["choices"] == tokens["choices"]


def test_a_conversation_whole_and_streamed(writing: Server) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "the end"}]}]
    asked = {"model": writing.name, "messages": messages, "temperature": 0, "max_tokens": 6}
    status, _, whole = writing.ask("POST", "/v1/chat/completions", asked)
    assert status == 200
    said = whole["choices"][0]["message"]
    _, _, data = writing.ask("POST", "/v1/chat/completions", {**asked, "stream": True})
    found = events(data)
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(one["choices"][0]["delta"]["content"] for one in found) == said["content"]


NEUTRAL = [
    *({key: None} for key in ("tools", "tool_choice", "response_format", "top_logprobs", "store", "metadata", "service_tier",
                              "reasoning_effort", "modalities", "stop", "seed", "stream_options")),
    {"response_format": {"type": "text"}}, {"tools": []}, {"tool_choice": "none"}, {"store": False}, {"top_logprobs": 0},
    {"modalities": ["text"]}, {"metadata": {"a": "b"}}, {"parallel_tool_calls": True}, {"n": 1}, {"logit_bias": {}},
    {"max_completion_tokens": 4}, {"stream_options": {"include_obfuscation": False, "include_usage": None}},
]  # fmt: skip


@pytest.mark.parametrize("fields", NEUTRAL, ids=str)
def test_fields_that_change_nothing(writing: Server, fields: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "the end"}]
    asked = {"model": writing.name, "messages": messages, "temperature": 0, "max_tokens": 4}
    _, _, wanted = writing.ask("POST", "/v1/chat/completions", asked)
    status, _, found = writing.ask("POST", "/v1/chat/completions", {**asked, **fields})
    assert status == 200, found
    assert found["choices"] == wanted["choices"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "xml"}}, "response_format: type 'xml' is not supported"),
        ({"tool_choice": "required"}, "tool_choice: a call is required, and the request has no tools"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"top_logprobs": False}, "top_logprobs"),
        ({"store": True}, "store"),
        ({"max_completion_tokens": 5}, "max_completion_tokens"),
        ({"stream_options": {"include_obfuscation": True}}, "include_obfuscation"),
        ({"messages": [{"role": "user", "content": "a", "name": 3}]}, "name"),
        ({"messages": [{"role": "user", "content": "a", "tool_calls": [{}]}]}, "message 0: not an object of role and content"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "this model's chat template reads no tools"),
        ({"stop_token_ids": [2, 2]}, "stop_token_ids: 2 is given twice"),
        ({"stop_token_ids": [9999]}, "stop_token_ids: 9999 is not among"),
        ({"stop_token_ids": "2"}, "stop_token_ids: not at most 64"),
    ],
    ids=str,
)
def test_fields_that_would_change_the_answer(writing: Server, fields: dict[str, Any], words: str) -> None:
    messages = [{"role": "user", "content": "the end"}]
    status, _, found = writing.ask(
        "POST", "/v1/chat/completions", {"model": writing.name, "messages": messages, "max_tokens": 4, **fields}
    )
    assert status == 400 and words in found["error"]["message"]


def test_an_answer_sent_back_as_openai_dumps_it(writing: Server) -> None:
    empty = {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None}
    messages = [
        {"role": "user", "content": "the end", "name": "Ann"},
        {"role": "assistant", "content": "a hat", **empty},
        {"role": "user", "content": "the inn"},
    ]
    asked = {"model": writing.name, "messages": messages, "temperature": 0, "max_tokens": 4}
    assert writing.ask("POST", "/v1/chat/completions", asked)[0] == 200


def test_a_text_that_was_cut_is_said_to_be(embedding: Server, classifying: Server) -> None:
    long = " ".join(["light"] * 100)
    asked = {"model": embedding.name, "input": ["it is", long, "turn"]}
    for encoding in ("float", "base64"):
        _, _, found = embedding.ask("POST", "/v1/embeddings", {**asked, "encoding_format": encoding})
        assert [one.get("truncated") for one in found["data"]] == [None, True, None]
    for server in (embedding, classifying):
        _, found = server.infer(["it is", long])
        (said,) = [output["data"] for output in found["outputs"] if output["name"] == "truncated"]
        assert said == [False, True]


def test_conversations_where_jinja2_is_missing(writing: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    language = writing.app.model.language
    assert language is not None and language.template is not None
    monkeypatch.setattr(language.template.child, "process", None)
    assert unanswered(writing.app.model) is None
    monkeypatch.setattr(chat.importlib.util, "find_spec", lambda name: None)
    assert "/v1/chat/completions answers 501" in str(unanswered(writing.app.model))
    asked = {"model": writing.name, "max_tokens": 4, "messages": [{"role": "user", "content": "the end"}]}
    for stream in (False, True):
        status, _, found = writing.ask("POST", "/v1/chat/completions", {**asked, "stream": stream})
        assert status == 501 and "chat templates need jinja2" in found["error"]["message"]
        assert "pip install 'jinja2>=3.1.6'" in found["error"]["message"] and "--raw" not in found["error"]["message"]
    status, _, _ = writing.ask("POST", "/v1/completions", {"model": writing.name, "prompt": "the end", "max_tokens": 4})
    assert status == 200


def test_what_a_template_refuses_is_of_the_messages(writing: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    language = writing.app.model.language
    assert language is not None and language.template is not None
    monkeypatch.setattr(language.template, "source", "{{ raise_exception('roles must alternate') }}")
    messages = [{"role": "clown", "content": "the end"}]
    asked = {"model": writing.name, "max_tokens": 4, "messages": messages}
    status, _, found = writing.ask("POST", "/v1/chat/completions", asked)
    assert (status, found["error"]["param"]) == (400, "messages")
    assert "roles must alternate" in found["error"]["message"] and language.template.where not in found["error"]["message"]


@pytest.mark.parametrize(
    ("path", "what", "fix"),
    [
        ("/v2/models/other", "no such model: 'other'", "ask /v2/models/tiny-text-classification"),
        ("/v2/models/other/infer", "no such model: 'other'", "ask /v2/models/tiny-text-classification"),
        ("/v1/models/other", "no such model: 'other'", "ask /v1/models/tiny-text-classification"),
        (
            "/v2/models/tiny-text-classification/versions/2/infer",
            "no such version of tiny-text-classification: '2'",
            "versions/1",
        ),
        ("/v2/models/tiny-text-classification/explain", "no such route", "/openapi.json"),
        ("/v2/models/", "no such route", "/openapi.json"),
        (
            "/v1/chat/completions",
            "tiny-text-classification is a bundle for text-classification; this route is for text-generation",
            "to /v2/models/tiny-text-classification/infer",
        ),
        ("/v1/embeddings", "this route is for feature-extraction", "to /v2/models/tiny-text-classification/infer"),
        ("/v1/rerank", "this route is for text-ranking", "to /v2/models/tiny-text-classification/infer"),
        ("/v1/audio/transcriptions", "no such route", "to /v2/models/tiny-text-classification/infer"),
    ],
)
def test_another_model_is_said_to_be_missing(classifying: Server, path: str, what: str, fix: str) -> None:
    status, _, found = classifying.ask("POST", path, {})
    said = found["error"] if path.startswith("/v2") else found["error"]["message"]
    assert status == 404 and what in said and fix in said


def test_a_conversation_without_a_chat_template_is_told_which_route_works(writer: Path) -> None:
    model, app = load(writer), App(replace(LIMITS, together=1))
    assert model.language is not None
    app.begin(replace(model, language=replace(model.language, template=None)))
    headers = {"host": "localhost", "content-type": "application/json"}
    asked = {"model": "tiny-text-generation", "messages": [{"role": "user", "content": "the end"}]}
    found = asyncio.run(app.respond(Request("POST", "/v1/chat/completions", headers, json.dumps(asked).encode())))
    assert isinstance(found.body, bytes)
    said = json.loads(found.body)["error"]
    assert found.status == 404 and said["code"] is None, "a client is not told that the model is missing"
    assert (
        "tiny-text-generation has no chat template" in said["message"]
        and "send a prompt (prompt) to /v1/completions" in said["message"]
    )


def test_that_tools_cannot_be_called_freely_is_said_at_the_start(caller: Path, writer: Path) -> None:
    assert uncalled(load(caller)) is None and uncalled(load(writer)) is None, "it may call, and reads no tools"
    model = load(writer)
    assert model.language is not None and model.language.template is not None
    template = Template(QWEN, model.language.template.tokens)
    said = uncalled(replace(model, language=replace(model.language, template=template)))
    assert (
        said is not None
        and "the tokenizer has no token of its own for '<tool_call>'" in said
        and 'tool_choice "required"' in said
    )


def test_a_model_that_converses_is_asked_so(writing: Server) -> None:
    status, _, found = writing.ask("POST", "/v1/responses", {})
    assert status == 404 and "send a conversation (messages) to /v1/chat/completions" in found["error"]["message"]


def test_models_are_listed(writing: Server) -> None:
    _, _, found = writing.ask("GET", "/v1/models")
    assert [one["id"] for one in found["data"]] == [writing.name]
    assert writing.ask("GET", f"/v1/models/{writing.name}")[2]["id"] == writing.name


def test_nothing_but_life_before_the_golden_inputs_pass(transport: str) -> None:
    with served(None, transport) as server:
        assert server.ask("GET", "/v2/health/live")[0] == 200
        for path in ("/v2/health/ready", "/v2/models/any", "/openapi.json"):
            status, headers, found = server.ask("GET", path)
            assert (status, headers["retry-after"]) == (503, "1")
            assert "golden inputs" in found["error"]
        assert server.metric("edgekit_ready") == 0


def test_the_metrics_count_what_was_done(classifier: Any, transport: str) -> None:
    with served(classifier, transport) as server:
        server.infer(TEXTS[:3])
        server.infer([""])
        server.ask("GET", "/nowhere")
        assert server.metric('edgekit_requests_total{route="infer",status="200"}') == 1
        assert server.metric('edgekit_requests_total{route="infer",status="400"}') == 1
        assert server.metric('edgekit_errors_total{route="none"}') == 1
        assert server.metric('edgekit_request_seconds_bucket{route="infer",le="+Inf"}') == 2
        assert server.metric("edgekit_items_total") == 3
        assert server.metric('edgekit_tokens_total{kind="prompt"}') == 6 + 7 + 5
        assert server.metric("edgekit_in_flight_requests") == 1  # the one that asks
        assert server.metric("process_resident_memory_bytes") > 1e6


def test_the_openapi_document_names_every_route(classifying: Server, writing: Server, embedding: Server) -> None:
    for server, own in (
        (classifying, set()),
        (embedding, {"/v1/embeddings"}),
        (writing, {"/v1/completions", "/v1/chat/completions"}),
    ):
        status, _, found = server.ask("GET", "/openapi.json")
        assert (status, found["openapi"]) == (200, "3.1.0")
        assert own <= set(found["paths"])
        for path, methods in found["paths"].items():
            for method in methods:
                status, _, _ = server.ask(method.upper(), path, {} if method == "post" else None)
                assert status == (400 if method == "post" else 200), path
