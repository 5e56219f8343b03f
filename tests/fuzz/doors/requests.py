"""Bytes that reach the servers: each is answered by whole HTTP responses or none, and the next client as if nothing had been."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from random import Random

from edgekit.runtime.serve.limits import Limits
from tests.fuzz.door import Door, Files
from tests.fuzz.edits import edit_bytes, edit_file, edit_text
from tests.runtime.serve.serving import TRANSPORTS, Server, make_bundle, served
from tests.waiting import PATIENCE_SECONDS

__all__ = ["DOORS", "responses"]

TASKS = ("text-classification", "feature-extraction", "text-generation")
LIMITS = Limits(
    body=100_000, batch=4, queue=4, connections=24, head=8192, head_seconds=PATIENCE_SECONDS, body_seconds=PATIENCE_SECONDS,
    idle_seconds=PATIENCE_SECONDS, write_seconds=PATIENCE_SECONDS, drain_seconds=PATIENCE_SECONDS,
)  # fmt: skip
"""Clients say that they send no more, so that nothing has to wait for a limit of time."""
HEAD = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [ -~]*\r\n((?:[!-9;-~]+: ?[\t -~\x80-\xff]*\r\n)*)\r\n")
TEXT = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["turn on the light"]}
BINARY = {
    "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 9}}],
    "outputs": [{"name": "label", "parameters": {"binary_data": True}}],
}
SAID = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
MORE = {
    "temperature": 0.7,
    "top_p": 0.9,
    "seed": 1,
    "stop": ["x"],
    "logprobs": True,
    "top_logprobs": 2,
    "n": 2,
    "logit_bias": {"5": 1.0},
}
SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}
FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}}
POSTS: Mapping[str, Sequence[tuple[str, dict[str, object]]]] = {
    "text-classification": [
        ("/v2/models/tiny-text-classification/infer", {"id": "1", "inputs": [TEXT], "parameters": {"top_k": 2}}),
        ("/v2/models/tiny-text-classification/versions/1/infer", {"inputs": [{**TEXT, "shape": [2, 1], "data": ["a", "b"]}]}),
    ],
    "feature-extraction": [
        ("/v1/embeddings", {"model": "tiny-feature-extraction", "input": ["on", "off"], "encoding_format": "base64"}),
        ("/v1/embeddings", {"model": "tiny-feature-extraction", "input": "on"}),
        ("/v2/models/tiny-feature-extraction/infer", {"inputs": [TEXT]}),
    ],
    "text-generation": [
        ("/v1/completions", {"model": "tiny-text-generation", "prompt": ["hi", "ho"], "max_tokens": 3, "echo": False}),
        ("/v1/completions", {"model": "tiny-text-generation", "prompt": "hi", "max_tokens": 3, "stream": True}),
        ("/v1/chat/completions", {"model": "tiny-text-generation", **SAID, **MORE}),
        ("/v1/chat/completions", {"model": "tiny-text-generation", **SAID, **FORM}),
        ("/v1/chat/completions", {"model": "tiny-text-generation", **SAID, "stream": True, "stream_options": {"include_usage": True}}),
        ("/v2/models/tiny-text-generation/infer", {"inputs": [TEXT], "parameters": {"max_new_tokens": 3, "temperature": 0}}),
    ],
}  # fmt: skip
GETS = ("/v2/health/ready", "/v2/models/{name}", "/metrics", "/openapi.json", "/v1/models/{name}", "/v2")


def request(first: str, body: bytes = b"", *lines: str, kind: str = "application/json") -> bytes:
    head = [first + " HTTP/1.1", "Host: localhost", *lines]
    if body:
        head += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


@cache
def seeds() -> list[Files]:
    found: list[Files] = []
    for task in TASKS:
        name, file = f"tiny-{task}", f"{task}.http"
        asked = [request(f"GET {path.format(name=name)}") for path in GETS]
        posts = [(path, json.dumps(document).encode()) for path, document in POSTS[task]]
        asked += [request(f"POST {path}", body) for path, body in posts]
        path, body = posts[0]
        chunked = b"5\r\n" + body[:5] + b"\r\n%x;a=b\r\n" % len(body[5:]) + body[5:] + b"\r\n0\r\nX-End: 1\r\n\r\n"
        asked += [
            request(f"POST {path}", b"", "Content-Type: application/json", "Transfer-Encoding: chunked") + chunked,
            request("HEAD /v2/health/live", b"", "Connection: close"),
            request("GET /v2/health/live") * 2 + request(f"POST {path}", body, "Expect: 100-continue"),
        ]
        if task == "text-classification":
            described = json.dumps(BINARY).encode()
            length = f"Inference-Header-Content-Length: {len(described)}"
            asked.append(request(f"POST {path}", described + b"\5\0\0\0is on", length, kind="application/octet-stream"))
        found += [{file: data} for data in asked]
    return found


def edit(files: Files, others: Sequence[Files], random: Random) -> Files:
    """The body by its JSON, with its length put right; the head by its lines and words; or any bytes of both."""
    ((name, data),) = files.items()
    alike = [next(iter(other.values())) for other in others]
    choice = random.randrange(10)
    head, gap, body = data.partition(b"\r\n\r\n")
    if choice < 4 and body:
        body = edit_file("body.json", body, [other.partition(b"\r\n\r\n")[2] for other in alike], random)
        head = re.sub(rb"(?i)(\r\nContent-Length:) *\d+", rb"\1 %d" % len(body), head)
    elif choice < 8:
        for _ in range(random.choice((1, 1, 2, 3))):
            head = random.choice((edit_text, edit_text, edit_bytes))(head, alike, random)
    else:
        return {name: edit_bytes(data, alike, random)}
    return {name: head + gap + body}


@cache
def bundles(process: int) -> dict[str, Path]:
    """Bundles of each task, made once by the process that forks the others."""
    place = Path(tempfile.mkdtemp(prefix="edgekit-fuzz-served-"))
    atexit.register(lambda: os.getpid() == process and shutil.rmtree(place, ignore_errors=True))
    return {task: make_bundle(place / task, task) for task in TASKS}


@cache
def server(process: int, task: str, transport: str) -> Server:
    """A server within this process, until it ends: threads do not survive a fork."""
    return _open.enter_context(served(_bundles[task], transport, LIMITS))


_open = ExitStack()
_bundles: dict[str, Path] = {}


def seeds_and_bundles() -> list[Files]:
    """The seeds; the bundles are made with them, before any child is forked."""
    if not _bundles:
        _bundles.update(bundles(os.getpid()))
    return seeds()


def responses(data: bytes) -> list[tuple[int, bytes]]:
    """(status, body) of each response in `data`; AssertionError where it is anything but whole responses."""
    found = []
    while data:
        head = HEAD.match(data)
        assert head is not None, f"no response: {data[:80]!r}"
        status, fields, data = int(head[1]), head[2].lower(), data[head.end() :]
        length = re.search(rb"^content-length: ?(\d+)\r$", fields, re.MULTILINE)
        bare = status < 200 or status in (204, 304) or not data or HEAD.match(data) is not None
        if b"transfer-encoding: chunked" in fields:
            body = b""
            while (size := re.match(rb"([0-9a-f]+)\r\n", data)) is not None:
                end = size.end() + int(size[1], 16)
                assert data[end : end + 2] == b"\r\n", f"a chunk that is not whole: {data[:80]!r}"
                body, data = body + data[size.end() : end], data[end + 2 :]
                if int(size[1], 16) == 0:
                    break
            else:
                raise AssertionError(f"no last chunk: {data[:80]!r}")
        elif length is not None and not (bare and int(length[1])):
            body, data = data[: int(length[1])], data[int(length[1]) :]
            assert len(body) == int(length[1]), "a body that is not whole"
        elif bare:
            body = b""
        else:
            body, data = data, b""  # until the end of the connection
        if body and b"content-type: application/json" in fields:
            json.loads(body)
        found.append((status, body))
    return found


def exchange(port: int, data: bytes) -> bytes:
    """All that the server sends to who sends `data` and no more."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:  # it may have ended the connection already
            pass
        try:
            while part := client.recv(65_536):
                found += part
        except ConnectionResetError:
            pass
    return found


def enter(transport: str, folder: Path) -> None:
    (path,) = folder.iterdir()
    asked = server(os.getpid(), path.stem, transport)
    for status, body in responses(exchange(asked.port, path.read_bytes())):
        assert status != 500, body[:300]
    ((ready, _),) = responses(exchange(asked.port, request("GET /v2/health/ready")))
    assert ready == 200 and asked.app.worker.broken is None


DOORS = tuple(Door(f"http-{name}", partial(enter, name), seeds_and_bundles, edit) for name in TRANSPORTS)
