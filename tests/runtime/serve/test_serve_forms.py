"""Answers of a given form, several answers, biases and log-probabilities of tokens over HTTP, as OpenAI's and vLLM's clients ask for them."""

from __future__ import annotations

import json
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import numpy as np
import pytest

from edgekit.runtime.generate import guide
from edgekit.runtime.generate.sample import parse_sampling
from edgekit.runtime.generate.token_bytes import token_bytes
from edgekit.runtime.serve import app
from edgekit.runtime.serve.likelihoods import Told, completion_logprobs
from tests.runtime.generate.tiny_tokenizers import KINDS, TEXTS
from tests.runtime.serve.serving import Server
from tests.waiting import PATIENCE_SECONDS, wait_for

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"word": {"enum": ["the", "in"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["word", "n"],
    "additionalProperties": False,
}


def body(server: Server, path: str, **fields: Any) -> dict[str, Any]:
    prompt = {"messages": [{"role": "user", "content": "the end"}]} if path == CHAT else {"prompt": "the end"}
    return {"model": server.name, "max_tokens": 60, "seed": 3, **prompt, **fields}


def said(choice: dict[str, Any]) -> str:
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


def chunks(data: bytes) -> list[dict[str, Any]]:
    *found, last = [part.removeprefix("data: ") for part in data.decode().strip().split("\n\n")]
    assert last == "[DONE]"
    return [json.loads(part) for part in found]


FORMS: dict[str, tuple[dict[str, Any], Any]] = {
    "json_schema": ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}}, SCHEMA),
    "guided_json": ({"guided_json": SCHEMA}, SCHEMA),
    "guided_json as text": ({"guided_json": json.dumps(SCHEMA)}, SCHEMA),
    "structured json": ({"structured_outputs": {"json": SCHEMA, "regex": None}}, SCHEMA),
    "guided_regex": ({"guided_regex": "[a-c]{3}", "guided_decoding_backend": "auto"}, "[a-c]{3}"),
    "structured regex": ({"structured_outputs": {"regex": "[a-c]{3}"}}, "[a-c]{3}"),
    "guided_choice": ({"guided_choice": ["he", "she"]}, "he|she"),
    "structured choice": ({"structured_outputs": {"choice": ["he", "she"]}}, "he|she"),
    "guided_grammar": ({"guided_grammar": 'start: "a" /[bc]/'}, "a[bc]"),
    "structured grammar": ({"structured_outputs": {"grammar": 'start: "a" /[bc]/'}}, "a[bc]"),
}  # fmt: skip


@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_an_answer_whole_and_streamed(writing: Server, path: str, name: str) -> None:
    fields, wanted = FORMS[name]
    status, _, found = writing.ask("POST", path, body(writing, path, **fields))
    assert status == 200, found
    (choice,) = found["choices"]
    assert choice["finish_reason"] == "stop"
    if isinstance(wanted, dict):
        jsonschema.validate(json.loads(said(choice)), wanted)
    else:
        assert re.fullmatch(wanted, said(choice))
    _, _, data = writing.ask("POST", path, body(writing, path, stream=True, **fields))
    parts = [one["choices"][0] for one in chunks(data)]
    assert "".join(part["delta"]["content"] if path == CHAT else part["text"] for part in parts) == said(choice)
    assert parts[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize("field", [{"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}])
def test_any_object(writing: Server, field: dict[str, Any]) -> None:
    for seed in range(6):
        _, _, found = writing.ask("POST", CHAT, body(writing, CHAT, **{**field, "seed": seed, "temperature": 0.8}))
        (choice,) = found["choices"]
        assert said(choice).startswith("{")
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(said(choice)), dict)


def test_a_cut_answer_says_length(writing: Server) -> None:
    _, _, found = writing.ask("POST", CHAT, body(writing, CHAT, max_tokens=4, guided_json=SCHEMA))
    assert found["choices"][0]["finish_reason"] == "length" and found["usage"]["completion_tokens"] == 4


def test_the_inference_protocol_takes_forms_as_parameters(writing: Server) -> None:
    status, found = writing.infer(["a", "the"], parameters={"choice": ["he", "she"]})
    assert status == 200 and set(found["outputs"][0]["data"]) <= {"he", "she"}
    status, found = writing.infer(["a"], parameters={"regex": "("})
    assert status == 400 and "regular expression cannot be used" in found["what"]
    status, found = writing.infer(["a"], parameters={"logprobs": 2})
    assert status == 400 and "'logprobs': unknown" in str(found)


NOTHING = {"minimum": 5, "maximum": 3, "type": "integer"}
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"guided_json": {"$ref": "https://example.com/a"}}, "https://example.com/a", "guided_json"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": NOTHING}}}, "minimum (5)", "response_format"),
    ({"response_format": {"type": "json_schema"}}, "not an object with a schema", "body"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "stricd": 1}}}, "'stricd' is unknown", "body"),
    ({"response_format": {"type": "json_object", "json_schema": {}}}, "no part of json_object", "body"),
    ({"response_format": "json"}, "response_format", "body"),
    ({"structured_outputs": {"structural_tag": "x"}}, "'structural_tag' is not supported", "body"),
    ({"structured_outputs": {"json_object": 1}}, "not true or false", "body"),
    ({"structured_outputs": []}, "not an object", "body"),
    ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_regex and guided_choice: an answer has one form", "body"),
    ({"guided_regex": "(a"}, "unclosed group", "guided_regex"),
    ({"guided_grammar": "x"}, "grammar cannot be used", "guided_grammar"),
    ({"guided_choice": "a"}, "not a list of 1 to 10,000", "body"),
    ({"guided_json": {"type": "integer", "multipleOf": 12345671}}, "did not end within", "guided_json"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "says", "where"), REFUSED, ids=str)
def test_a_form_that_cannot_be_kept_is_refused(
    writing: Server, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], says: str, where: str
) -> None:
    if "multipleOf" in str(fields):
        monkeypatch.setattr(guide, "SECONDS", 0.3)
    for stream in (False, True):
        status, _, found = writing.ask("POST", TEXT, body(writing, TEXT, stream=stream, **fields))
        assert status == 400, found
        assert says in found["error"]["message"] and found["error"]["param"] == where
    status, _, _ = writing.ask("POST", TEXT, body(writing, TEXT, max_tokens=2))
    assert status == 200


def test_without_llguidance_it_is_501(writing: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide.importlib.util, "find_spec", lambda name: None)
    status, _, found = writing.ask("POST", TEXT, body(writing, TEXT, guided_choice=["never asked before"]))
    assert status == 501 and "pip install 'llguidance>=1.9'" in found["error"]["message"]


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_several_answers(writing: Server, path: str) -> None:
    asked = body(writing, path, n=3, max_tokens=8, temperature=1.2)
    _, _, found = writing.ask("POST", path, asked)
    texts = [said(choice) for choice in found["choices"]]
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2] and len({*texts}) == 3
    _, _, second = writing.ask("POST", path, {**asked, "n": 1, "seed": asked["seed"] + 1})
    assert said(second["choices"][0]) == texts[1]
    assert found["usage"]["prompt_tokens"] == second["usage"]["prompt_tokens"]
    assert found["usage"]["completion_tokens"] >= 3
    _, _, data = writing.ask("POST", path, {**asked, "stream": True})
    streamed = ["", "", ""]
    for part in (one["choices"][0] for one in chunks(data)):
        streamed[part["index"]] += part["delta"]["content"] if path == CHAT else part["text"]
    assert streamed == texts
    status, _, found = writing.ask("POST", path, {**asked, "n": 5})
    assert status == 413 and "5 answers are more than 4" in found["error"]["message"]


def test_biases(writing: Server) -> None:
    language = writing.app.model.language
    assert language is not None
    letter = language.tokenizer.token_to_id("z")
    _, _, found = writing.ask("POST", TEXT, body(writing, TEXT, max_tokens=5, logit_bias={str(letter): 100}))
    assert said(found["choices"][0]) == "zzzzz"
    status, _, found = writing.ask("POST", TEXT, body(writing, TEXT, logit_bias={"9999": 1}))
    assert status == 400 and "logit_bias: 9999 is not among" in found["error"]["message"]
    status, _, found = writing.ask("POST", TEXT, body(writing, TEXT, logit_bias={"a": 1}))
    assert status == 400 and "logit_bias" in found["error"]["message"]


def test_log_probabilities_of_a_conversation(writing: Server) -> None:
    language = writing.app.model.language
    assert language is not None
    asked = body(writing, CHAT, max_tokens=9, temperature=0.1, logprobs=True, top_logprobs=3)
    _, _, found = writing.ask("POST", CHAT, asked)
    (choice,) = found["choices"]
    tokens = choice["logprobs"]["content"]
    ended = choice["finish_reason"] == "stop"
    assert len(tokens) == found["usage"]["completion_tokens"] - ended
    assert b"".join(bytes(one["bytes"]) for one in tokens).decode("utf-8", "replace").strip() == said(choice).strip()
    for one in tokens:
        assert one["logprob"] <= 0 and len(one["top_logprobs"]) == 3
        assert one["top_logprobs"][0]["logprob"] >= one["logprob"]
    _, _, data = writing.ask("POST", CHAT, {**asked, "stream": True})
    streamed = [token for part in chunks(data) for token in (part["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert streamed == tokens
    status, _, found = writing.ask("POST", CHAT, body(writing, CHAT, logprobs=3))
    assert status == 400 and "send how many in top_logprobs" in found["error"]["message"]


def test_log_probabilities_of_a_completion(writing: Server) -> None:
    language = writing.app.model.language
    assert language is not None
    asked = body(writing, TEXT, max_tokens=6, temperature=0, logprobs=2)
    _, _, found = writing.ask("POST", TEXT, asked)
    (choice,) = found["choices"]
    told = choice["logprobs"]
    answer = language.generate("the end", parse_sampling({"max_new_tokens": 6}))
    assert "".join(told["tokens"]).strip() == said(choice).strip() and told["text_offset"][0] == 0
    assert told["text_offset"] == [sum(map(len, told["tokens"][:number])) for number in range(len(told["tokens"]))]
    wanted = language.score(np.concatenate([language.encode("the end"), answer.tokens]))[-len(answer.tokens) :]
    assert told["token_logprobs"] == pytest.approx(wanted.tolist()[: len(told["tokens"])], abs=1e-4)
    assert all(len(most) == 2 for most in told["top_logprobs"])
    _, _, data = writing.ask("POST", TEXT, {**asked, "stream": True})
    parts = [part["choices"][0]["logprobs"] for part in chunks(data)]
    for name in ("tokens", "token_logprobs", "text_offset"):
        assert [value for part in parts if part for value in part[name]] == told[name]
    _, _, plain = writing.ask("POST", TEXT, {**asked, "logprobs": 0})
    assert plain["choices"][0]["logprobs"]["top_logprobs"] is None


def test_tokens_that_are_no_text_have_names_of_their_own() -> None:
    """As OpenAI's API writes them; by the same name one would take the other's place."""
    token = Told(b"\xe2\x80", -1.0, ((b"\xe2\x80", -1.0), (b"\xe2", -2.0), (b"a", -3.0)))
    told = completion_logprobs([token, token], 0)
    assert told["tokens"] == [r"bytes:\xe2\x80"] * 2 and told["text_offset"] == [0, 1]
    assert told["top_logprobs"] == [{r"bytes:\xe2\x80": -1.0, r"bytes:\xe2": -2.0, "a": -3.0}] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_of_tokens_are_those_of_the_text(kind: str) -> None:
    tokenizer = KINDS[kind]()
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if kind != "metaspace" and tokenizer.token_to_id("<unk>") not in ids:
            assert b"".join(token_bytes(tokenizer, one) for one in ids).decode().strip() == text.strip()
    assert token_bytes(tokenizer, tokenizer.token_to_id("</s>")) == b"</s>" and token_bytes(tokenizer, 10**6) == b""


def test_forms_that_take_long_hold_up_nobody_else(writing: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are compiled one at a time, in one thread; those whose clients leave are not; and some wait at most."""
    language, begun, free = writing.app.model.language, threading.Event(), threading.Event()
    assert language is not None
    real, made = language.guides._compiled, list[str]()

    def compiled(constraint: Any) -> Any:
        begun.set()
        assert free.wait(PATIENCE_SECONDS)
        made.append(constraint.text)
        return real(constraint)

    known = {"model": writing.name, "prompt": "the", "max_tokens": 3, "guided_regex": "[ab]{2}"}
    assert writing.ask("POST", "/v1/completions", known)[0] == 200
    monkeypatch.setattr(language.guides, "_compiled", compiled)
    with ThreadPoolExecutor(8) as pool:
        slow = [
            pool.submit(writing.ask, "POST", "/v1/completions", {**known, "guided_regex": f"[ab]{{{n}}}"})
            for n in range(10, 16)
        ]
        assert begun.wait(PATIENCE_SECONDS)
        wait_for(lambda: writing.app._forms == 5)
        left = json.dumps({**known, "guided_regex": "c"}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(left)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", writing.port)) as client:
            client.sendall(head.encode() + left)
            wait_for(lambda: writing.app._forms == 6)
        wait_for(lambda: writing.app._forms == 5)
        for asked in (known, {**known, "guided_regex": None}):
            assert writing.ask("POST", "/v1/completions", asked)[0] == 200, "who asks for no new form does not wait"
        monkeypatch.setattr(app, "FORMS", 5)
        status, headers, found = writing.ask("POST", "/v1/completions", {**known, "guided_regex": "d"})
        assert (status, headers["retry-after"]) == (503, "10") and "5 new forms of answers wait" in found["error"]["message"]
        free.set()
        assert {one.result()[0] for one in slow} == {200}
    assert len(made) == 6 and "c" not in made and writing.app._forms == 0
