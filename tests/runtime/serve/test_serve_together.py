"""A language model answers several requests together: each as if it were alone, in order, within bounds, whatever its neighbours' clients do."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate import neighbours
from edgekit.runtime.generate.batch import Batch, token_bytes
from edgekit.runtime.model import load
from edgekit.runtime.serve import worker
from edgekit.runtime.serve.app import App
from edgekit.runtime.serve.message import Refusal, Request
from edgekit.runtime.serve.stream import Stream
from tests.runtime.serve.serving import LIMITS, Server, served
from tests.waiting import PATIENCE_SECONDS, wait_for

ROUTE = "/v1/completions"
PROMPTS = ["the inn", "a hat and the inn on a hat", "on", "light the light", "in the inn and in the hat", "and"]
ROOMY = replace(LIMITS, queue=64, connections=64)


@pytest.fixture(scope="module")
def roomy(writer: Path, transport: str) -> Iterator[Server]:
    with served(writer, transport, ROOMY) as server:
        yield server


def body(name: str, prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": name, "prompt": prompt, "temperature": 0, "max_tokens": 60, **more}


def batch_of(server: Server) -> Batch:
    found = server.app.worker.together
    assert isinstance(found, Batch)
    return found


def streamed(data: bytes) -> str:
    """The text of the events of a completion."""
    events = [line.removeprefix("data: ") for line in data.decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    return "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])


def test_answers_together_are_those_alone(roomy: Server) -> None:
    """Whole and streamed, of a given length or form, drawn and greedy, by both routes and the protocol's."""
    asked: list[tuple[str, dict[str, Any]]] = []
    for number, prompt in enumerate(PROMPTS * 3):
        more: dict[str, Any] = {"temperature": 1.1, "seed": number} if number % 3 == 2 else {}
        if number % 4 == 1:
            messages = [{"role": "user", "content": prompt}]
            document = {key: value for key, value in body(roomy.name, prompt, **more).items() if key != "prompt"}
            asked.append(("/v1/chat/completions", {**document, "messages": messages, "logprobs": True}))
        elif number % 4 == 2:
            tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": [prompt, "a"]}
            asked.append((f"/v2/models/{roomy.name}/infer", {"inputs": [tensor], "parameters": {"max_new_tokens": 20}}))
        else:
            asked.append((ROUTE, body(roomy.name, prompt, n=1 + number % 2, **more)))
    wanted = [said(roomy.ask("POST", *one)[2]) for one in asked]
    with ThreadPoolExecutor(len(asked)) as pool, roomy.busy():
        found = [pool.submit(roomy.ask, "POST", *one) for one in asked]
        wait_for(lambda: roomy.app.worker.waiting == len(asked))
    assert [said(one.result()[2]) for one in found] == wanted
    assert batch_of(roomy).held == 0


def said(document: Any) -> Any:
    """What does not change from one time to the next."""
    return [document.get("choices", document.get("outputs"))]


def test_they_come_at_the_same_time_and_in_a_fair_order(roomy: Server) -> None:
    """Who comes while others are answered gets its first token before their last, and tokens in turn."""
    order: list[int] = []
    stream = roomy.app.stream

    def noted(prompt: Any, sampling: Any) -> Iterator[Any]:
        for piece in stream(prompt, sampling):
            if piece is not None:
                order.append(sampling.max_new_tokens)
            yield piece

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as pool:
        patch.setattr(roomy.app, "stream", noted)
        with roomy.busy():
            for count in (41, 42, 43):
                pool.submit(roomy.ask, "POST", ROUTE, body(roomy.name, "a hat", max_tokens=count))
                wait_for(lambda: roomy.app.worker.waiting == count - 40)  # noqa: B023
    assert sorted({41, 42, 43}, key=order.index) == [41, 42, 43] and order.index(43) < 8
    assert max(abs(order[:120].count(41) - order[:120].count(count)) for count in (42, 43)) <= 4
    assert [order.count(count) for count in (41, 42, 43)] == [41, 42, 43]


def test_who_leaves_frees_its_row_and_others_are_answered(roomy: Server) -> None:
    batch, wanted = batch_of(roomy), said(roomy.ask("POST", ROUTE, body(roomy.name, "the inn"))[2])
    slow, free = threading.Event(), threading.Event()
    stream = roomy.app.stream

    def held(prompt: Any, sampling: Any) -> Iterator[Any]:
        """After a few tokens, wait until somebody has left."""
        for number, piece in enumerate(stream(prompt, sampling)):
            if number == 8 and sampling.max_new_tokens == 60:
                slow.set()
                assert free.wait(PATIENCE_SECONDS)
            yield piece

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(roomy.app, "stream", held)
        data = json.dumps(body(roomy.name, "light", max_tokens=61, stream=True)).encode()
        head = f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        client = socket.create_connection(("127.0.0.1", roomy.port))
        with roomy.busy():
            client.sendall(head.replace("Host: x", "Host: localhost").encode() + data)
            other = pool.submit(roomy.ask, "POST", ROUTE, body(roomy.name, "the inn"))
            wait_for(lambda: roomy.app.worker.waiting == 2)
        assert slow.wait(PATIENCE_SECONDS)
        rows = len(batch._rows)
        client.close()
        wait_for(lambda: any(one.cancelled for one in roomy.app.worker._running))
        free.set()
        assert rows == 2 and said(other.result()[2]) == wanted
        wait_for(lambda: batch.held == 0 and not roomy.app.worker.running)
    assert roomy.metric('edgekit_requests_total{route="completions",status="499"}') >= 1


def test_a_slow_reader_holds_up_itself_alone(writer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer stops when some pieces wait for it, and goes on when they are taken."""
    monkeypatch.setattr(worker, "MOST_WAITING", 6)

    async def ask() -> None:
        app = App(ROOMY)
        app.begin(load(writer))
        name = app.model.bundle.manifest.name

        def request(prompt: str, **more: Any) -> Request:
            headers = {"content-type": "application/json", "host": "localhost"}
            return Request("POST", ROUTE, headers, json.dumps(body(name, prompt, **more)).encode())

        alone = await app.respond(request("the inn"))
        slow = await app.respond(request("the inn", stream=True))
        others = await asyncio.gather(*(app.respond(request(prompt)) for prompt in PROMPTS * 2))
        assert all(one.status == 200 for one in others)
        batch = app.worker.together
        assert isinstance(batch, Batch) and isinstance(slow.body, Stream) and isinstance(alone.body, bytes)
        (job,) = app.worker._running
        while not job.behind:
            await asyncio.sleep(0.001)
        assert 0 < job.results.qsize() <= 6 < batch.held
        data = b"".join([part async for part in slow.body])
        assert streamed(data) == json.loads(alone.body)["choices"][0]["text"]
        app.worker.close(PATIENCE_SECONDS)

    asyncio.run(asyncio.wait_for(ask(), PATIENCE_SECONDS))


def test_ten_thousand_prompts_are_refused_and_not_kept(writer: Path) -> None:
    async def ask() -> list[Any]:
        app = App(replace(LIMITS, queue=5, together=2))
        app.begin(load(writer))
        free = threading.Event()

        def blocks() -> Iterator[Any]:
            free.wait(PATIENCE_SECONDS)
            yield None

        app.worker.submit(blocks())  # type: ignore[arg-type]
        while not app.worker.running:
            await asyncio.sleep(0.001)
        made, refused = 0, 0

        def prompt() -> Iterator[Any]:
            yield None

        for _ in range(10_000):
            try:
                app.worker.submit(prompt())  # type: ignore[arg-type]
                made += 1
            except Refusal as refusal:
                assert int(refusal.headers["retry-after"]) >= 1
                refused += 1
        assert (made, refused, app.worker.waiting) == (5, 9_995, 5)
        headers = {"content-type": "application/json", "host": "localhost"}
        asked = json.dumps(body(app.model.bundle.manifest.name, "the inn " * 10)).encode()
        with pytest.MonkeyPatch.context() as patch:  # nor is a prompt read that is refused
            patch.setattr(type(app.model.language), "encode", lambda *_: 1 / 0)
            found = await asyncio.gather(*(app.respond(Request("POST", ROUTE, headers, asked)) for _ in range(20)))
        free.set()
        app.worker.close(PATIENCE_SECONDS)
        return list(found)

    found = asyncio.run(asyncio.wait_for(ask(), PATIENCE_SECONDS))
    assert [one.status for one in found] == [503] * 20 and all("retry-after" in one.headers for one in found)


def test_a_prompt_without_room_is_refused_and_a_small_cache_changes_nothing(writer: Path, transport: str) -> None:
    language = load(writer).language
    assert language is not None
    limits = replace(ROOMY, cache=70 * token_bytes(language.graph))
    with served(writer, transport, ROOMY) as large, served(writer, transport, limits) as small:
        assert batch_of(small).tokens == 70
        status, _, found = small.ask("POST", ROUTE, body(small.name, "the inn and " * 10))
        assert (status, found["error"]["param"]) == (400, "prompt[0]") and "--max-cache" in found["error"]["message"]
        asked = [body(small.name, prompt, max_tokens=25) for prompt in PROMPTS]
        wanted = [said(large.ask("POST", ROUTE, one)[2]) for one in asked]
        with ThreadPoolExecutor(len(asked)) as pool, small.busy():
            answers = [pool.submit(small.ask, "POST", ROUTE, one) for one in asked]
            wait_for(lambda: small.app.worker.waiting == len(asked))
        assert [said(one.result()[2]) for one in answers] == wanted


def test_where_neighbours_would_change_answers_there_are_none(writer: Path, transport: str) -> None:
    def ready(server: Server) -> Any:
        return server.ask("GET", "/v2/health/ready")[2]

    with served(writer, transport, ROOMY) as server:
        assert ready(server) == {"ready": True, "name": server.name, "together": 8}
    with served(writer, transport, replace(ROOMY, together=1)) as server:
        assert (ready(server)["together"], ready(server)["one_by_one"]) == (1, "--max-together is 1")
        assert server.app.worker.together is None
        assert server.ask("POST", ROUTE, body(server.name, "a"))[0] == 200
    with pytest.raises(BadInput, match="--max-cache: 1,000 bytes have no room for the keys and values of 64 tokens") as refused:
        App(replace(ROOMY, cache=1000)).begin(load(writer))
    least = int(str(refused.value.fix).split()[1].replace(",", ""))
    with served(writer, transport, replace(ROOMY, cache=least)) as server:
        assert ready(server)["together"] == 8 and batch_of(server).tokens == 64
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "OVER_ALL_ROWS", ("MatMul",))
        with served(writer, transport, ROOMY) as server:
            assert "a range over all rows" in ready(server)["one_by_one"]
            assert server.ask("POST", ROUTE, body(server.name, "a"))[0] == 200
        patch.undo()
        patch.setattr("edgekit.runtime.generate.batch.unlike_tried", lambda graph, cache, even=False: "other bits than alone")
        with served(writer, transport, ROOMY) as server:
            assert ready(server)["one_by_one"] == "other bits than alone"


def test_a_run_that_fails_is_the_end_of_those_in_it_alone(roomy: Server) -> None:
    batch = batch_of(roomy)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(batch, "step", lambda: (_ for _ in ()).throw(KeyError("a fault of ours")))
        with roomy.busy():
            answers = [pool.submit(roomy.ask, "POST", ROUTE, body(roomy.name, prompt)) for prompt in PROMPTS[:2]]
            wait_for(lambda: roomy.app.worker.waiting == 2)
        assert [one.result()[0] for one in answers] == [500, 500]
    assert batch.held == 0 and roomy.app.worker.broken is None
    assert roomy.ask("POST", ROUTE, body(roomy.name, "on"))[0] == 200


def test_the_queue_says_when_to_come_again(writer: Path) -> None:
    """The more are answered together, the sooner there is room."""

    async def waits(width: int) -> int:
        app = App(replace(LIMITS, queue=40, together=width))
        app.begin(load(writer))
        app.worker._mean = 2.0
        app.worker.capacity = 0
        with pytest.raises(Refusal) as refusal:
            app.worker.check_room()
        app.worker.capacity = 40
        app.worker._waiting.extend([None] * 40)  # type: ignore[list-item]
        with pytest.raises(Refusal) as refusal:
            app.worker.check_room()
        app.worker._waiting.clear()
        app.worker.close(PATIENCE_SECONDS)
        return int(refusal.value.headers["retry-after"])

    assert [asyncio.run(waits(width)) for width in (1, 8)] == [40, 5]


def test_half_closed_clients_are_answered_together(roomy: Server) -> None:
    """They send no more and still read."""
    wanted = [roomy.ask("POST", ROUTE, body(roomy.name, prompt))[2]["choices"][0]["text"] for prompt in PROMPTS]

    def ask(prompt: str) -> bytes:
        data = json.dumps(body(roomy.name, prompt, stream=True)).encode()
        head = (
            f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", roomy.port), timeout=PATIENCE_SECONDS) as client:
            client.sendall(head.encode() + data)
            client.shutdown(socket.SHUT_WR)
            found = b""
            while part := client.recv(65_536):
                found += part
        return found

    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        answers: Sequence[bytes] = [*pool.map(ask, PROMPTS)]
    for answer, text in zip(answers, wanted, strict=True):
        lines = [line for line in answer.decode().splitlines() if line.startswith("data: {")]
        assert "".join(json.loads(line[6:])["choices"][0]["text"] for line in lines) == text
