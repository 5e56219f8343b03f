"""What a careless or hostile client sends, on both transports: each is refused with a reason, and the server goes on."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.runtime.serve.serving import LIMITS, Server, received
from tests.waiting import PATIENCE_SECONDS, wait_for

INFER = "/v2/models/tiny-text-classification/infer"
TEXT = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["is it on"]}


@pytest.fixture(autouse=True)
def goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test every server it used still answers, with nothing left in flight."""
    yield
    for name in {"classifying", "writing", "embedding", "impatient"} & set(request.fixturenames):
        server: Server = request.getfixturevalue(name)
        assert server.infer(["a", "the end"] if name == "writing" else ["is it on"])[0] == 200
        wait_for(lambda: server.app.metrics.in_flight == 0)  # noqa: B023
        assert server.app.worker.waiting == 0


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request as bytes, with a length unless `headers` say otherwise."""
    own = (
        []
        if any(line.lower().startswith(("content-length", "transfer")) for line in headers)
        else [f"Content-Length: {len(body)}"]
    )
    kind = [] if any(line.lower().startswith("content-type") for line in headers) else ["Content-Type: application/json"]
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Connection: close", *kind, *own, *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def answer(data: bytes) -> tuple[int, Any]:
    """(status, document) of one response."""
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 "), data[:100]
    return int(head.split(b" ")[1]), json.loads(body)


def refused(server: Server, data: bytes, status: int, *words: str, **how: Any) -> None:
    """`server` answers `data` with `status`, and says each of `words`."""
    got, found = answer(server.raw(data, **how))
    assert got == status, found
    for word in words:
        assert word in found["error"], found


def test_a_body_that_is_too_large(classifying: Server) -> None:
    refused(classifying, post(INFER, b"x" * (LIMITS.body + 1)), 413, "20,001 bytes", "20,000", "--max-body")


def test_a_length_that_is_too_large_without_the_body(impatient: Server) -> None:
    refused(impatient, post(INFER, b"{", "Content-Length: 999999999999"), 413, "999,999,999,999")


def test_chunks_without_an_end(classifying: Server) -> None:
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    refused(classifying, post(INFER, chunk * 2000, "Transfer-Encoding: chunked"), 413, "20,000")


def test_chunks_that_make_a_request(classifying: Server) -> None:
    body = json.dumps({"inputs": [TEXT]}).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:])) + b"0\r\n\r\n"
    status, found = answer(classifying.raw(post(INFER, chunks, "Transfer-Encoding: chunked")))
    assert (status, found["model_name"]) == (200, "tiny-text-classification")


def test_a_chunk_without_a_size(classifying: Server) -> None:
    refused(classifying, post(INFER, b"nonsense\r\nx\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"])
def test_a_wrong_content_type(classifying: Server, kind: str) -> None:
    refused(classifying, post(INFER, b"{}", f"Content-Type: {kind}"), 415, "application/json")


def test_a_compressed_body(classifying: Server) -> None:
    refused(classifying, post(INFER, b"\x1f\x8b", "Content-Encoding: gzip"), 415, "uncompressed")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not sound JSON"),
        (b"{", "not sound JSON"),
        (b"[]", "object is wanted, not list"),
        (b"[" * 9000, "nested deeper than 200"),
        (b'{"inputs": ' * 300 + b"1" + b"}" * 300, "nested deeper than 200"),
        (b'{"id": "\xff"}', "not valid UTF-8"),
        (b'{"id": 1, "id": 2}', "duplicate key 'id'"),
        (b'{"parameters": NaN}', "no JSON number"),
        (b'{"id": 1' + b"0" * 5000 + b"}", "not sound JSON"),
    ],
)
def test_a_body_that_is_no_sound_json(classifying: Server, body: bytes, words: str) -> None:
    refused(classifying, post(INFER, body), 400, words)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"datatype": "FP32", "data": [1.0]}, 400, "BYTES"),
        ({"datatype": None}, 400, "BYTES"),
        ({"name": "txt"}, 400, "the model reads text"),
        ({"name": 7}, 400, "needs a name"),
        ({"shape": [-1]}, 400, "whole numbers from 0"),
        ({"shape": [True]}, 400, "whole numbers from 0"),
        ({"shape": [1.0]}, 400, "whole numbers from 0"),
        ({"shape": [2]}, 400, "1 texts, but the shape is [2]"),
        ({"shape": [1, 2]}, 400, "send [n] or [n, 1]"),
        ({"shape": []}, 400, "send [n] or [n, 1]"),
        ({"shape": [0], "data": []}, 400, "at least one text"),
        ({"shape": [5], "data": ["a"] * 5}, 413, "5 texts are more than 4"),
        ({"shape": [2**40]}, 400, "whole numbers"),
        ({"data": "is it on"}, 400, "no list of texts"),
        ({"data": [3]}, 400, "not a text but int"),
        ({"data": [""]}, 400, "empty"),
        ({"data": ["\ud800"]}, 400, "surrogates"),
        ({"dtype": "BYTES"}, 400, "did you mean 'datatype'"),
        ({"parameters": {"binary_data_size": 4}}, 400, "binary"),
    ],
)
def test_a_tensor_that_cannot_be_used(classifying: Server, change: dict[str, Any], status: int, words: str) -> None:
    refused(classifying, post(INFER, json.dumps({"inputs": [{**TEXT, **change}]}).encode()), status, words)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "no input tensors"),
        ({"inputs": []}, "no input tensors"),
        ({"inputs": {"text": 1}}, "no input tensors"),
        ({"inputs": [TEXT, TEXT]}, "is a duplicate"),
        ({"inputs": [TEXT, TEXT, TEXT]}, "the model reads text"),
        ({"inputs": ["text"]}, "tensor object"),
        ({"inputs": [TEXT], "outputs": [{"name": "lable"}]}, "known: label"),
        ({"inputs": [TEXT], "outputs": [{"name": "label"}, {"name": "label"}]}, "is a duplicate"),
        ({"inputs": [TEXT], "parameters": {"top_k": 0}}, "from 1 to 3"),
        ({"inputs": [TEXT], "parameters": {"topk": 1}}, "did you mean 'top_k'"),
        ({"inputs": [TEXT], "id": 7}, "a text is wanted"),
    ],
)
def test_an_inference_that_cannot_be_made(classifying: Server, document: dict[str, Any], words: str) -> None:
    refused(classifying, post(INFER, json.dumps(document).encode()), 400, words)


@pytest.mark.parametrize(
    ("size", "blob"), [(8, b"\x04\x00\x00\x00abcd"), (6, b"\xff\xff\xff\xffab"), (3, b"abc"), (16, b"\x04\x00\x00\x00abcd" * 2)]
)
def test_binary_data_of_another_size(classifying: Server, size: int, blob: bytes) -> None:
    tensor = {key: value for key, value in TEXT.items() if key != "data"} | {"parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    declared = len(head) + (100 if size == 8 else 0)
    data = post(INFER, head + blob, f"Inference-Header-Content-Length: {declared}")
    refused(classifying, data, 400)


@pytest.mark.parametrize(
    "path",
    ["/v2/models/other/infer", "/v2/models/other", "/v2/models/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v2/models/%00", "//",
     "/v2/models/tiny-text-classification/versions/2", "/v1/nowhere", "/v2/models/" + "x" * 3000],
)  # fmt: skip
def test_an_unknown_address(classifying: Server, path: str) -> None:
    status, _, found = classifying.ask("GET", path)
    assert status == 404
    assert "no such" in json.dumps(found)
    assert "root:" not in json.dumps(found)


@pytest.mark.parametrize(("method", "path"), [("GET", INFER), ("DELETE", INFER), ("POST", "/metrics"), ("BREW", "/v2")])
def test_a_wrong_method(classifying: Server, method: str, path: str) -> None:
    status, headers, found = classifying.ask(method, path, b"{}" if method == "POST" else None)
    assert (status, headers["allow"]) == (405, "POST" if path == INFER else "GET, HEAD")
    assert "use " in found["error"]


def test_two_lengths(classifying: Server) -> None:
    refused(classifying, post(INFER, b"{}", "Content-Length: 2", "Content-Length: 3"), 400)


def test_a_length_that_is_none(classifying: Server) -> None:
    refused(classifying, post(INFER, b"{}", "Content-Length: -2"), 400)


@pytest.mark.parametrize(
    "line", [b"nonsense", b"GET /v2 HTTP/1.1 more", b"\x16\x03\x01\x02\x00\x01\x00", b"GET /v2 HTTP/1.1\r\nHost localhost"]
)
def test_what_is_no_http(classifying: Server, line: bytes) -> None:
    refused(classifying, line + b"\r\n\r\n", 400)


def test_a_head_without_an_end(classifying: Server) -> None:
    got, _ = answer(classifying.raw(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 30_000))
    assert got in (400, 431)


def test_headers_that_come_slowly(impatient: Server) -> None:
    head = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: xxxxxxxxxxx"
    refused(impatient, head, 408, "head did not come within 2 s", parts=12, pause=0.2)


def test_a_connection_without_a_request(impatient: Server) -> None:
    """It is told why it ends: it may be a client that its machine kept from sending."""
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as client:
        client.sendall(b"\r\n")
        got, found = answer(client.recv(65_536))
    assert got == 408 and "head did not come within 2 s" in found["error"]


def test_a_body_that_comes_slowly(impatient: Server) -> None:
    refused(impatient, post(INFER, b"{" + b" " * 100)[:-60], 408, "body", "0.5 s")


def test_a_name_that_leads_here_from_outside(classifying: Server) -> None:
    assert classifying.ask("GET", "/v2", headers={"Host": "evil.example"})[0] == 403
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        assert classifying.ask("POST", INFER, {}, {"Origin": origin, "Content-Type": ""})[0] == 403
    assert classifying.ask("GET", "/v2", headers={"Host": f"LOCALHOST:{classifying.port}"})[0] == 200


def test_names_that_mean_this_machine(classifying: Server) -> None:
    for name in ("127.0.0.2", "[::1]", "localhost.", "models.localhost", "127.0.0.1:80"):
        assert classifying.ask("GET", "/v2", headers={"Host": name})[0] == 200, name
    for name in ("localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "[", ""):
        assert classifying.ask("GET", "/v2", headers={"Host": name})[0] in (400, 403), name


def test_a_target_in_absolute_form(classifying: Server) -> None:
    """RFC 9112, 3.2.2: it must be accepted, and its host overrules the header."""
    for target, host, status in (
        ("http://127.0.0.1:8000/v2/health/live?a=b", "127.0.0.1", 200),
        ("HTTP://localhost/v2/health/live", "evil.example", 200),
        ("http://evil.example/v2/health/live", "localhost", 403),
        ("http://localhost", "localhost", 404),
        ("http://[::1/v2/health/live", "localhost", 400),
    ):
        sent = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        assert classifying.raw(sent).split(b" ")[1] == str(status).encode(), target


def test_a_health_check_in_http_1_0(classifying: Server) -> None:
    assert classifying.raw(b"GET /v2/health/live HTTP/1.0\r\n\r\n").split(b" ")[1] == b"200"
    assert classifying.raw(b"GET /v2/health/live HTTP/1.0\r\nHost: evil.example\r\n\r\n").split(b" ")[1] == b"403"


def test_a_route_that_is_none_is_no_missing_model(classifying: Server) -> None:
    for path, code in (("/v1/thing", None), ("/v1/models/other", "model_not_found")):
        status, _, found = classifying.ask("GET", path)
        assert status == 404 and found["error"]["code"] == code


def test_requests_in_one_go_are_answered_in_their_order(classifying: Server) -> None:
    body = json.dumps({"inputs": [TEXT], "id": "one"}).encode()
    first = post(INFER, body).replace(b"Connection: close\r\n", b"")
    data = classifying.raw(
        first + first.replace(b"one", b"two") + b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert data.count(b"HTTP/1.1 200 ") == 3
    assert data.index(b'"one"') < data.index(b'"two"') < data.index(b'"edgekit"')


def test_a_full_queue(classifying: Server) -> None:
    with classifying.busy(1 + LIMITS.queue):
        status, headers, found = classifying.ask("POST", INFER, {"inputs": [TEXT]})
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        assert "the queue of 2 requests is full" in found["error"]
        assert classifying.metric("edgekit_queue_depth") == 2
        assert classifying.ask("GET", "/v2/health/live")[0] == 200


def test_a_place_in_the_queue_is_given_up_by_who_leaves(classifying: Server) -> None:
    with classifying.busy():
        client = socket.create_connection(("127.0.0.1", classifying.port))
        client.sendall(post(INFER, json.dumps({"inputs": [TEXT]}).encode()))
        wait_for(lambda: classifying.app.worker.waiting == 1)
        client.close()
        wait_for(lambda: classifying.app.worker.waiting == 0)


def test_too_many_connections(classifying: Server) -> None:
    clients = [socket.create_connection(("127.0.0.1", classifying.port)) for _ in range(LIMITS.connections)]
    try:
        refused(classifying, b"", 503, "24 connections")
    finally:
        for client in clients:
            client.close()
    wait_for(lambda: classifying.ask("GET", "/v2")[0] == 200)


def test_a_client_that_leaves_within_a_stream_ends_the_generation(writing: Server) -> None:
    made, free = threading.Event(), threading.Event()
    ended: list[str] = []

    def endless(prompt: Any, sampling: Any) -> Iterator[Any]:
        from edgekit.runtime.generate.answer import Piece

        try:
            while True:
                made.set()
                free.wait(0.01)
                yield Piece("x", 7)
        finally:
            ended.append("closed")

    patch = pytest.MonkeyPatch()
    patch.setattr(writing.app, "stream", endless)
    try:
        client = socket.create_connection(("127.0.0.1", writing.port))
        body = json.dumps({"model": writing.name, "prompt": "a", "stream": True}).encode()
        client.sendall(post("/v1/completions", body))
        assert made.wait(PATIENCE_SECONDS)
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        client.close()
        wait_for(lambda: bool(ended))
    finally:
        patch.undo()
    assert writing.metric('edgekit_requests_total{route="completions",status="499"}') >= 1


def test_a_fault_within_a_stream_is_said_in_it(writing: Server, capsys: pytest.CaptureFixture[str]) -> None:
    from edgekit.runtime.errors import CheckFailed
    from edgekit.runtime.generate.answer import Piece

    def failing(prompt: Any, sampling: Any) -> Iterator[Any]:
        yield Piece("x", 7)
        raise CheckFailed("the model gave NaN")

    patch = pytest.MonkeyPatch()
    patch.setattr(writing.app, "stream", failing)
    try:
        status, _, data = writing.ask("POST", "/v1/completions", {"model": writing.name, "prompt": "a", "stream": True})
    finally:
        patch.undo()
    assert status == 200
    assert "the model gave NaN" in data.decode().splitlines()[-2]
    assert "[DONE]" not in data.decode()
    assert "the model gave NaN" in capsys.readouterr().err


def test_a_bug_is_500_and_tells_strangers_nothing(classifying: Server, capfd: pytest.CaptureFixture[str]) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr("edgekit.runtime.serve.app.answer_response", lambda *_: {}["secret"])
    try:
        status, found = classifying.infer(["is it on"])
    finally:
        patch.undo()
    assert status == 500
    assert "secret" not in json.dumps(found)
    assert "KeyError: 'secret'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": "hot"}, "temperature: 'hot' is not a number"),
        ({"temperature": 1e999}, "not sound JSON"),
        ({"temperature": -1}, "from 0 to 100"),
        ({"top_p": 0}, "top_p: 0 is not"),
        ({"max_tokens": 0}, "max_tokens: 0"),
        ({"max_tokens": 1.5}, "max_tokens: 1.5"),
        ({"seed": -1}, "seed: -1"),
        ({"n": 0}, "n: 0 is not a whole number from 1"),
        ({"n": 1.5}, "n: 1.5 is not a whole number from 1"),
        ({"echo": True}, "echo: True is not supported"),
        ({"logprobs": 21}, "logprobs: 21 is not a whole number from 0 to 20"),
        ({"logprobs": True}, "logprobs: True is not a whole number from 0 to 20"),
        ({"stop": [""]}, "stop"),
        ({"stream": "yes"}, "not true or false"),
        ({"stream_options": {"more": 1}}, "'more': unknown"),
        ({"temprature": 1}, "did you mean 'temperature'"),
        ({"prompt": ""}, "empty"),
        ({"prompt": []}, "no prompt"),
        ({"prompt": 5}, "int is no prompt"),
        ({"model": 5}, "int is no name of a model"),
        ({"prompt": [[]]}, "neither"),
        ({"prompt": [10**9]}, "vocabulary"),
        ({"prompt": "the " * 900}, "context"),
        ({"model": None}, "no model named"),
    ],
)
def test_a_completion_that_cannot_be_made(writing: Server, change: dict[str, Any], words: str) -> None:
    body = json.dumps({"model": writing.name, "prompt": "a", **change})
    for stream in (False, True):
        document = body if "stream" in change else body[:-1] + f', "stream": {str(stream).lower()}}}'
        status, _, found = writing.ask("POST", "/v1/completions", document.encode())
        assert status == 400, found
        assert words in found["error"]["message"]


def test_completions_at_once_are_all_answered_or_refused(writing: Server) -> None:
    asked = {"model": writing.name, "prompt": "the end", "max_tokens": 30}
    with ThreadPoolExecutor(12) as pool:
        found = [one[0] for one in pool.map(lambda _: writing.ask("POST", "/v1/completions", asked), range(24))]
    assert set(found) <= {200, 503}
    assert found.count(200) >= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [({"input": []}, "no text"), ({"input": [1, 2]}, "token ids are not read"), ({"input": ["a"] * 5}, "5 texts"),
     ({"encoding_format": "hex"}, "'float' or 'base64'"), ({"dimensions": 1}, "fixed"), ({"dimensions": 99}, "1 to "),
     ({"prompt_name": "query"}, "no prompt"), ({"model": "other"}, "no model 'other'")],
)  # fmt: skip
def test_embeddings_that_cannot_be_made(embedding: Server, change: dict[str, Any], words: str) -> None:
    asked = {"model": embedding.name, "input": "is it on", **change}
    status, _, found = embedding.ask("POST", "/v1/embeddings", asked)
    assert status == {"5 texts": 413, "no model 'other'": 404}.get(words, 400)
    assert words in found["error"]["message"]


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_a_half_closed_client_gets_its_answer(classifying: Server, version: bytes) -> None:
    request = post(INFER, json.dumps({"inputs": [TEXT]}).encode()).replace(b"HTTP/1.1", version)
    for more in (b"Connection: close\r\n", b""):
        with socket.create_connection(("127.0.0.1", classifying.port), timeout=PATIENCE_SECONDS) as client:
            with classifying.busy():
                client.sendall(request.replace(b"Connection: close\r\n", more))
                wait_for(lambda: classifying.app.worker.waiting == 1)
                client.shutdown(socket.SHUT_WR)
                if version == b"HTTP/1.1":  # it is asked for a sign of life, by an answer that clients pass over
                    assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            found = received(client).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        assert answer(found)[0] == 200


def test_an_old_client(writing: Server) -> None:
    body = json.dumps({"model": writing.name, "prompt": "the end", "stream": True, "max_tokens": 5}).encode()
    request = post("/v1/completions", body).replace(b"HTTP/1.1", b"HTTP/1.0")
    head, _, data = writing.raw(request).partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert data.endswith(b"data: [DONE]\n\n")


def test_a_client_that_waits_to_be_told_to_go_on(classifying: Server) -> None:
    body = json.dumps({"inputs": [TEXT]}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", classifying.port, timeout=PATIENCE_SECONDS)
    connection.putrequest("POST", INFER)
    for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Expect", "100-continue")):
        connection.putheader(name, value)
    connection.endheaders()
    told = connection.sock.recv(1000)
    assert told.startswith(b"HTTP/1.1 100 ")
    assert told.endswith(b"\r\n\r\n")
    connection.send(body)
    assert connection.getresponse().status == 200
    connection.close()
