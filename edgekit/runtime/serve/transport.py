"""The transport without dependencies: HTTP/1.1 on asyncio's transports, one task a connection."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from functools import partial
from typing import cast

from edgekit.runtime.serve.app import App
from edgekit.runtime.serve.door import Door, probe_half_closed, serve_connections
from edgekit.runtime.serve.guard import cut_off
from edgekit.runtime.serve.message import Refusal, Request, Response, read_body
from edgekit.runtime.serve.wire import Wire, encode, encode_head

__all__ = ["serve"]


async def serve(app: App, listener: socket.socket, stop: asyncio.Event) -> int:
    """Serve connections to `listener` until `stop`; then take no new ones and let requests in progress finish.

    Returns how many of these were aborted, before `drain_seconds` were over.
    """
    return await serve_connections(listener, stop, app.limits, partial(_Connection, app))


class _Connection(asyncio.Protocol):
    """One client, whose requests are answered in their order."""

    def __init__(self, app: App, door: Door) -> None:
        self.app = app
        self.door = door
        self.busy = False
        """Whether a request has arrived that is not completely answered."""
        self._wire: Wire
        self._task: asyncio.Task[None]
        self._path = ""
        """Of the request that is being answered."""
        self._begun = False
        """Whether its answer has begun."""
        self._interim = False
        """Whether the client reads interim answers now."""
        self._cutting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio, as the five below."""
        self._wire = Wire(cast(asyncio.Transport, transport), self.app.limits)
        work = self._serve() if self.door.enter(self) else self._refuse_connection()
        self._task = asyncio.get_running_loop().create_task(work)

    def data_received(self, data: bytes) -> None:
        self._wire.feed(data)

    def eof_received(self) -> bool:
        """The client sends no more; it may still read, so that the connection stays open for the answer."""
        self._wire.feed_end()
        if self._interim:
            self._probe()
        return True

    def connection_lost(self, fault: Exception | None) -> None:
        self._wire.feed_end()
        self._task.cancel()
        self.door.leave(self)

    def pause_writing(self) -> None:
        self._wire.pause()

    def resume_writing(self) -> None:
        self._wire.resume()

    def end(self) -> None:
        """End the connection, which waits for a request."""
        self._task.cancel()

    async def cut(self) -> None:
        """Answer what is in progress with 503, and end."""
        self._cutting = True
        self._task.cancel()
        await asyncio.sleep(0)

    def abort(self) -> None:
        """Close at once."""
        self._wire.transport.abort()

    async def _refuse_connection(self) -> None:
        what = f"{self.door.most} connections are open"
        refusal = Refusal(503, what, fix="ask again in 1 s", headers={"retry-after": "1"})
        with suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
            await self._write(self.app.refuse("", refusal), close=True)
        await self._close()

    async def _serve(self) -> None:
        """Answer requests until one side ends."""
        try:
            first = True
            while await self._one(first=first):
                first = False
        except (ConnectionError, TimeoutError):
            self._wire.transport.abort()  # the client left, or does not take what is sent
        except asyncio.CancelledError:  # the client left, or the server ends
            if self._cutting and self.busy and not self._begun:
                self._wire.transport.write(encode(cut_off(self._path), close=True))
        finally:
            self.busy = False
            await self._close()

    async def _one(self, *, first: bool) -> bool:
        """Answer one request; whether there may be another."""
        self._path, self._begun = "", False
        try:
            head = await self._wire.head(first=first)
            if head is None:
                return False
            self.busy, self._path = True, head.path
            bodies, held = self.app.bodies, 0
            body = self._wire.whole() if (head.length or 0) <= bodies.largest else None
            if body is None:
                body = await read_body(self._wire.read, head.length, bodies)
                held = len(body)
        except Refusal as refusal:
            await self._write(self.app.refuse(self._path, refusal), close=True)
            return False
        self._interim = head.chunks
        if self._interim and self._wire.ended:
            self._probe()
        try:
            response = await self.app.respond(Request(head.method, head.path, head.headers, body))
        finally:
            self._interim = False
            bodies.held -= held
        close = head.close or response.close or self.app.draining
        await self._write(response, close=close, chunked=head.chunks)
        self.busy = False
        return not close

    def _probe(self) -> None:
        probe_half_closed(self._wire.transport, lambda: self._interim)

    async def _write(self, response: Response, *, close: bool, chunked: bool = True) -> None:
        """Send `response`.

        Raises:
            ConnectionError, TimeoutError: the client left, or does not take it.
        """
        self._begun = True
        if isinstance(response.body, bytes):
            await self._wire.send(encode(response, close=close))
            return
        try:
            self._wire.transport.write(encode_head(response, chunked=chunked, close=close))
            while True:
                data = await response.body.part()
                await self._wire.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)  # an empty chunk is the end
                if not data:
                    return
        finally:
            await response.body.aclose()

    async def _close(self) -> None:
        """Say that nothing more is sent, and read for a moment: closing while the client sends would reset the connection before it
        reads the response."""
        transport = self._wire.transport
        if transport.is_closing():
            return
        with suppress(TimeoutError, OSError, asyncio.CancelledError):
            transport.write_eof()
            async with asyncio.timeout(self.app.limits.linger_seconds):
                await self._wire.wait_end()
        if transport.get_write_buffer_size():  # the client does not read
            transport.abort()
        transport.close()
