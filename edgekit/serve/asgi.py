"""The transport of `edgekit serve`: the app of `edgekit.runtime.serve` as ASGI, on uvicorn's HTTP/1.1."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from edgekit.runtime.serve.app import App
from edgekit.runtime.serve.door import Door, probe_half_closed, serve_connections
from edgekit.runtime.serve.guard import cut_off
from edgekit.runtime.serve.message import Refusal, Request, Response, read_body
from edgekit.runtime.serve.wire import Head, encode, head_end, parse_head

__all__ = ["asgi", "serve"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def serve(app: App, listener: socket.socket, stop: asyncio.Event) -> int:
    """Serve connections to `listener` until `stop`; then take no new ones and let requests in progress finish.

    Returns how many of these were aborted, before `drain_seconds` were over.
    """
    limits = app.limits
    config = uvicorn.Config(
        asgi(app), ws="none", lifespan="off", log_config=None, log_level="error", access_log=False,
        server_header=False, date_header=False, proxy_headers=False, timeout_keep_alive=round(limits.idle_seconds),
        h11_max_incomplete_event_size=limits.head,
    )  # fmt: skip
    config.load()
    return await serve_connections(listener, stop, limits, partial(_Connection, app, config, ServerState()))


def asgi(app: App) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """`app` as an ASGI 3 application for HTTP, on connections of this module."""

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "uvicorn is told to speak nothing else"
        connection: _Connection = scope["state"]["connection"]
        connection.task = asyncio.current_task()
        head = connection.head
        assert head is not None, "it was parsed before uvicorn saw the request"
        with suppress(ConnectionError, TimeoutError):  # the client left, or does not take what is sent
            try:
                await _answer(app, connection, head, receive, send)
            except asyncio.CancelledError:
                if connection.cutting and not connection.begun:
                    await _send(app, connection, cut_off(head.path), send)

    return application


async def _answer(app: App, connection: _Connection, head: Head, receive: Receive, send: Send) -> None:
    try:
        body = await read_body(_reader(receive), head.length, app.bodies)
    except Refusal as refusal:
        await _send(app, connection, app.refuse(head.path, refusal), send)
        return
    try:
        connection.wait_for_answer(interim=head.chunks)
        response = await app.respond(Request(head.method, head.path, head.headers, body))
    finally:
        connection.wait_for_answer(interim=False)
        app.bodies.held -= len(body)
    await _send(app, connection, response, send)


async def _send(app: App, connection: _Connection, response: Response, send: Send) -> None:
    """Send `response`."""
    connection.begun = True
    headers = {"content-type": response.kind, **response.headers}
    if response.close or app.draining or connection.ended:
        headers["connection"] = "close"
    if isinstance(response.body, bytes):
        headers.setdefault("content-length", str(len(response.body)))
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    start = {"type": "http.response.start", "status": response.status, "headers": pairs}
    if isinstance(response.body, bytes):
        with connection.together():
            await send(start)
        async with asyncio.timeout(app.limits.write_seconds):
            await send({"type": "http.response.body", "body": response.body})
        return
    try:
        await send(start)
        while True:
            data = await response.body.part()
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


class _Connection(H11Protocol):
    """uvicorn's HTTP/1.1, with heads parsed as strictly as by the other transport, time limits, and refusals in JSON."""

    def __init__(self, app: App, config: uvicorn.Config, state: ServerState, door: Door) -> None:
        super().__init__(config, state, {"connection": self})
        self.edgekit = app
        self.door = door
        self.head: Head | None = None
        """Of the request that is being answered, or was last."""
        self.task: asyncio.Task[None] | None = None
        """Which answers it."""
        self.begun = False
        """Whether its answer has begun."""
        self.cutting = False
        """Whether the server ends, and with it what is in progress."""
        self.ended = False
        """Whether the client sends no more."""
        self._interim = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether a request has arrived that is not completely answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def end(self) -> None:
        """End the connection, which waits for a request."""
        self.transport.close()

    async def cut(self) -> None:
        """Answer what is in progress with 503, and end."""
        self.cutting = True
        if self.task is not None:
            self.task.cancel()
        await asyncio.sleep(0)

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    def wait_for_answer(self, *, interim: bool) -> None:
        """The answer is being made, if `interim` for a client that reads interim answers; or it begins."""
        self._interim = interim
        if interim and self.ended:
            self._probe()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written within is sent with what comes after it: two packets cost twice."""
        kept = self._gentle.kept = bytearray()
        try:
            yield
        finally:
            self._gentle.kept, self._gentle.first = None, bytes(kept)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._gentle = _Gentle(transport, self.edgekit.limits.linger_seconds)
        super().connection_made(cast(asyncio.Transport, self._gentle))
        if self.door.enter(self):
            self._expect()
        else:
            what = f"{self.door.most} connections are open"
            self._refuse(Refusal(503, what, fix="ask again in 1 s", headers={"retry-after": "1"}))

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._between() and not self.conn.trailing_data[0]:
            data = data.lstrip(b"\r\n")  # RFC 9112, 2.2
        super().data_received(data)
        if self.busy:
            self._settle()
        elif self._timer is None:
            self._expect()

    def handle_events(self) -> None:
        if self._between():
            data = self.conn.trailing_data[0]
            try:
                end = head_end(data, self.edgekit.limits)
                if end is None:
                    return
                self.head = parse_head(data[:end])
            except Refusal as refusal:
                self._refuse(refusal)
                return
            self.begun = False
        super().handle_events()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; it may still read, so that the connection stays open for the answer."""
        self.ended = self._gentle.ended = True
        if self.transport.is_closing() or self.conn.their_state is h11.SEND_BODY:
            self.transport.abort()  # all is said, or it has left within a body
        elif not self.busy:
            self.transport.close()
        elif self._interim:
            self._probe()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        super().connection_lost(exc)
        if self.task is not None:
            self.task.cancel()
        self.door.leave(self)

    def on_response_complete(self) -> None:
        self.task = None
        super().on_response_complete()
        if self.ended and not self.busy:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Refusal(400, msg, where="request", fix="send HTTP/1.1"))

    def _between(self) -> bool:
        """Whether what comes next is the head of a request."""
        return self.conn.their_state is h11.IDLE

    def _probe(self) -> None:
        probe_half_closed(self.transport, lambda: self._interim)

    def _expect(self) -> None:
        self._timer = self.loop.call_later(self.edgekit.limits.head_seconds, self._slow)

    def _settle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _slow(self) -> None:
        what = f"the request's head did not come within {self.edgekit.limits.head_seconds:g} s"
        self._refuse(Refusal(408, what, fix="send it faster"))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer outside of any request, and end the connection once the client has had time to read."""
        self._settle()
        if self.transport.is_closing():
            return
        self.transport.write(encode(self.edgekit.refuse("", refusal), close=True))
        self.transport.close()


class _Gentle:
    """A transport that, when it is closed, still reads for a moment: closing while the client sends would reset the connection before it
    reads the response."""

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._closed = False
        self.ended = False
        """Whether the client sends no more."""
        self.kept: bytearray | None = None
        """What is written now and is to be sent later; None: it is sent at once."""
        self.first = b""
        """What is to be sent before all else."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self.kept is not None:
            self.kept += data
            return
        first, self.first = self.first, b""
        if first or data:
            self._transport.write(first + data)

    def is_closing(self) -> bool:
        return self._closed or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        self._closed = True
        if self.ended:
            self._transport.close()
            return
        with suppress(OSError):
            self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(self._seconds, self._transport.abort)
