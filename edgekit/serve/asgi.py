"""The transport of `edgekit serve`: the app of `edgekit.runtime.serve` as ASGI, on uvicorn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgekit.runtime.serve.app import App
from edgekit.runtime.serve.guard import cut_off
from edgekit.runtime.serve.message import Refusal, Request, Response, read_body
from edgekit.runtime.serve.wire import encode, split_target

__all__ = ["asgi", "serve"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def serve(app: App, listener: socket.socket, stop: asyncio.Event) -> int:
    """Serve connections to `listener` until `stop`; then take no new ones and let requests in progress finish.

    Call it outside the main thread, where uvicorn leaves signals alone. Returns how many requests were aborted, after `drain_seconds`.
    """
    limits = app.limits
    cut: list[str] = []
    config = uvicorn.Config(
        asgi(app, cut), http=_protocol(app), ws="none", lifespan="off", log_config=None, log_level="error", access_log=False,
        server_header=False, date_header=False, proxy_headers=False, timeout_keep_alive=round(limits.idle_seconds),
        timeout_graceful_shutdown=round(limits.drain_seconds), h11_max_incomplete_event_size=limits.head, backlog=1024,
    )  # fmt: skip
    server = uvicorn.Server(config)

    async def told() -> None:
        await stop.wait()
        server.should_exit = True

    watch = asyncio.ensure_future(told())
    try:
        await server.serve(sockets=[listener])
    finally:
        watch.cancel()
    await asyncio.gather(*server.server_state.tasks, return_exceptions=True)
    return len(cut)


def asgi(app: App, cut: list[str]) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """`app` as an ASGI 3 application for HTTP; the paths of aborted requests are added to `cut`."""

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "uvicorn is told to speak nothing else"
        with suppress(ConnectionError, TimeoutError):  # the client left, or does not take what is sent
            try:
                await _answer(app, scope, receive, send)
            except asyncio.CancelledError:  # by uvicorn, at its end
                cut.append(scope["path"])

    return application


async def _answer(app: App, scope: Message, receive: Receive, send: Send) -> None:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    try:
        path, host = split_target(scope["raw_path"].decode("latin-1"))
    except Refusal as refusal:
        await _send(app, app.refuse(scope["path"], refusal), send)
        return
    if host is not None:
        headers["host"] = host
    declared = headers.get("content-length")
    try:
        body = await read_body(_reader(receive), int(declared) if declared is not None else None, app.limits)
    except Refusal as refusal:
        await _send(app, app.refuse(path, refusal), send)
        return
    answer = asyncio.ensure_future(app.respond(Request(scope["method"], path, headers, body)))
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:  # uvicorn has waited long enough
        await _send(app, cut_off(path), send)
        raise
    else:
        if answer.done():
            await _send(app, answer.result(), send, gone)
    finally:
        for task in (answer, gone):
            task.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)


async def _send(app: App, response: Response, send: Send, gone: asyncio.Future[None] | None = None) -> None:
    """Send `response`; a stream ends when the client is `gone`."""
    headers = {"content-type": response.kind, **response.headers}
    if response.close:
        headers["connection"] = "close"
    if isinstance(response.body, bytes):
        headers.setdefault("content-length", str(len(response.body)))
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    start = {"type": "http.response.start", "status": response.status, "headers": pairs}
    if isinstance(response.body, bytes):
        await send(start)
        async with asyncio.timeout(app.limits.write_seconds):
            await send({"type": "http.response.body", "body": response.body})
        return
    assert gone is not None, "refusals are not streams"
    try:
        await send(start)
        while True:
            data = await response.body.part(gone)
            async with asyncio.timeout(app.limits.write_seconds):
                await send({"type": "http.response.body", "body": data, "more_body": bool(data)})
            if not data:
                return
    finally:
        await response.body.aclose()


def _reader(receive: Receive) -> Callable[[], Awaitable[bytes]]:
    """Parts of the body; empty at its end."""
    more = True

    async def read() -> bytes:
        nonlocal more
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client left within a body")
            more = message.get("more_body", False)
            if message.get("body"):
                return bytes(message["body"])
        return b""

    return read


async def _gone(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _protocol(app: App) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 with a time limit for the head of a request, and refusals in JSON."""

    class Protocol(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _refused = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > app.limits.connections:
                what = f"{app.limits.connections} connections are open"
                self._refuse(Refusal(503, what, fix="ask again in 1 s", headers={"retry-after": "1"}))
                return
            self._expect()

        def data_received(self, data: bytes) -> None:
            if self._refused:
                return
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._settle()
            elif self._timer is None:
                self._expect()

        def connection_lost(self, exc: Exception | None) -> None:
            self._settle()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self._refuse(Refusal(400, msg, where="request", fix="send HTTP/1.1"))

        def _expect(self) -> None:
            self._timer = self.loop.call_later(app.limits.head_seconds, self._slow)

        def _settle(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _slow(self) -> None:
            what = f"the request's head did not come within {app.limits.head_seconds:g} s"
            self._refuse(Refusal(408, what, fix="send it faster"))

        def _refuse(self, refusal: Refusal) -> None:
            """Answer outside of any request, and end the connection once the client has had time to read."""
            self._settle()
            if self._refused or self.transport.is_closing():
                return
            self._refused = True
            self.transport.write(encode(app.refuse("", refusal), close=True))
            self.transport.write_eof()
            self.loop.call_later(app.limits.linger_seconds, self.transport.close)

    return Protocol
