"""Tiny bundles of three tasks, servers of them on both transports, and clients as good or as bad as a test needs."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.pack.bundle import write_bundle
from edgekit.pack.golden import make_golden, make_golden_texts
from edgekit.runtime.bundle.manifest import Variant
from edgekit.runtime.generate.generation import Generation
from edgekit.runtime.model import load
from edgekit.runtime.processors import Asked
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.serve.app import App
from edgekit.runtime.serve.command import Running, listen
from edgekit.runtime.serve.limits import Limits
from edgekit.runtime.serve.transport import serve as plain
from edgekit.serve.asgi import serve as uvicorn
from tests.runtime.generate.tiny_decoder import CONTEXT, KV_HEADS, LAYERS, SIZE, make_decoder, write_decoder
from tests.runtime.generate.tiny_tokenizers import CHAT, KINDS
from tests.tiny_manifest import signature, tiny_manifest
from tests.tiny_onnx import LABELS, WORDS, write_variant
from tests.waiting import PATIENCE_SECONDS, wait_for

TRANSPORTS = {"plain": plain, "uvicorn": uvicorn}
LIMITS = Limits(
    body=20_000, batch=4, queue=2, connections=24, head=4096, head_seconds=PATIENCE_SECONDS, body_seconds=PATIENCE_SECONDS,
    linger_seconds=5.0, write_seconds=PATIENCE_SECONDS, drain_seconds=PATIENCE_SECONDS,
)  # fmt: skip
IMPATIENT = replace(LIMITS, head_seconds=2.0, body_seconds=0.5, linger_seconds=0.5)
TEXTS = ["turn on the light", "turn off the red light", "is it on", "the blue light", "is the light red", "it is off"]


def make_bundle(
    folder: Path, task: str, template: str = CHAT, marks: Sequence[str] = (), context: int = CONTEXT, name: str | None = None
) -> Path:
    """A bundle called tiny-`task`, or `name`, in `folder`/bundle; a language model has the chat template `template`, and the control tokens
    `marks`."""
    source = folder / "source"
    bundle = folder / "bundle"
    bundle.mkdir(parents=True)
    generation = None
    if task == "text-generation":
        tokenizer = KINDS["byte_fallback"]()
        tokenizer.add_special_tokens([*marks])
        decoder = make_decoder(vocabulary=tokenizer.get_vocab_size() + 3, context=context)
        decoder.weights["head"][:, 5:261] *= 0.4
        write_decoder(decoder, source)
        tokenizer.save(str(source / "tokenizer.json"))
        (source / "chat_template.jinja").write_text(template)
        labels, vocabulary, length = [], decoder.vocabulary, context
        plain = Generation(context, (2,), 1, LAYERS, KV_HEADS, SIZE, None)
        golden = make_golden_texts(source, source / "tokenizer.json", plain, TEXTS)
        generation = replace(plain, chat_template="chat_template.jinja")
        names = ["model.onnx", "model.onnx.data", "tokenizer.json", "chat_template.jinja"]
    else:
        write_variant(source)
        labels, vocabulary, length = LABELS if task == "text-classification" else [], len(WORDS), 32
        names = ["model.onnx", "tokenizer.json"]
        golden = make_golden(
            source / "model.onnx", source / "tokenizer.json", task, TEXTS, Asked(labels), max_length=length,
            provider="CPUExecutionProvider",
        )  # fmt: skip
    manifest = tiny_manifest(
        name=name or f"tiny-{task}", task=task, labels=labels, vocabulary=vocabulary, golden=len(golden["rows"]), max_length=length,
        tolerance=0.01, variant=Variant("model.onnx", CPU, 1), generation=generation,
        **signature(source / "model.onnx") if generation is None else {},
    )  # fmt: skip
    texts = {"golden.json": json.dumps(golden)}
    files = {name: source / name for name in names}
    write_bundle(bundle, manifest, files=files, texts=texts)
    return bundle


@dataclass(frozen=True)
class Server:
    """A server in this process."""

    app: App
    port: int
    running: Running

    @property
    def name(self) -> str:
        return self.app.model.bundle.manifest.name

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any, Any]:
        """(status, headers, document or bytes) of one request; `body` that is no bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            kind = {} if data is None else {"Content-Type": "application/json"}
            connection.request(method, path, data, {**kind, **(headers or {})})
            response = connection.getresponse()
            read = response.read()
            found = json.loads(read) if response.headers["content-type"] == "application/json" and read else read
            return response.status, response.headers, found
        finally:
            connection.close()

    def infer(self, texts: list[str], **more: Any) -> tuple[int, Any]:
        """(status, document) of an inference."""
        tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
        status, _, found = self.ask("POST", f"/v2/models/{self.name}/infer", {"inputs": [tensor], **more})
        return status, found

    def raw(self, data: bytes, *, pause: float = 0.0, parts: int = 1) -> bytes:
        """All that the server sends after `data`, until it ends the connection; `parts` with `pause` seconds between."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS) as client:
            size = max(1, -(-len(data) // parts))
            try:
                for start in range(0, len(data), size):
                    client.sendall(data[start : start + size])
                    if pause:
                        threading.Event().wait(pause)
            except OSError:  # it may have ended the connection already, which is what some tests are about
                pass
            return received(client)

    def metric(self, name: str) -> float:
        """A sample of /metrics by its whole name."""
        _, _, page = self.ask("GET", "/metrics")
        (value,) = [line.split(" ")[1] for line in page.decode().splitlines() if line.split(" ")[0] == name]
        return float(value)

    @contextmanager
    def busy(self, jobs: int = 1) -> Iterator[None]:
        """The worker is at work, and `jobs` - 1 wait behind it, until the block ends."""
        began, free = threading.Event(), threading.Event()

        def work() -> Any:
            began.set()
            free.wait(PATIENCE_SECONDS)
            yield None

        async def submit() -> None:
            self.app.worker.submit(work())

        loop = self.running.loop
        assert loop is not None
        try:
            for _ in range(jobs):
                asyncio.run_coroutine_threadsafe(submit(), loop).result(PATIENCE_SECONDS)
                assert began.wait(PATIENCE_SECONDS)
            yield
        finally:
            free.set()
            wait_for(lambda: self.app.worker.waiting == 0)


def received(client: socket.socket) -> bytes:
    """Everything until the other side ends."""
    found = b""
    try:
        while part := client.recv(65_536):
            found += part
    except ConnectionResetError:
        pass
    return found


@contextmanager
def served(bundle: Path | None, transport: str, limits: Limits = LIMITS) -> Iterator[Server]:
    """A server of `bundle` on `transport`; None: its model is not ready."""
    app = App(limits)
    if bundle is not None:
        app.begin(load(bundle))
    listener = listen("127.0.0.1", 0)
    running = Running(app, listener, TRANSPORTS[transport])
    running.start()
    try:
        yield Server(app, listener.getsockname()[1], running)
    finally:
        running.end()
