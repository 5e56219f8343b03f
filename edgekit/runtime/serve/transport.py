"""The transport without dependencies: HTTP/1.1 on asyncio's streams."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from edgekit.runtime.serve.app import App
from edgekit.runtime.serve.guard import cut_off
from edgekit.runtime.serve.message import Refusal, Request, Response, read_body
from edgekit.runtime.serve.wire import Wire, encode, encode_head

__all__ = ["serve"]


async def serve(app: App, listener: socket.socket, stop: asyncio.Event) -> int:
    """Serve connections to `listener` until `stop`; then take no new ones and let requests in progress finish.

    Returns how many of these were aborted, after `drain_seconds`.
    """
    connections: set[_Connection] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(app, Wire(reader, writer, app.limits), asyncio.current_task())
        if len(connections) >= app.limits.connections:
            await connection.refuse_connection()
            return
        connections.add(connection)
        try:
            await connection.serve()
        finally:
            connections.discard(connection)

    server = await asyncio.start_server(connected, sock=listener, limit=app.limits.head, backlog=1024)
    await stop.wait()
    server.close()
    for connection in list(connections):
        connection.end_if_idle()
    until = asyncio.get_running_loop().time() + app.limits.drain_seconds
    while connections and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(0.02)
    cut = [connection for connection in connections if connection.busy]
    tasks = [connection.task for connection in connections if connection.task is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return len(cut)


class _Connection:
    """One client, whose requests are answered in their order."""

    def __init__(self, app: App, wire: Wire, task: asyncio.Task[None] | None) -> None:
        self.app = app
        self.wire = wire
        self.task = task
        self.busy = False
        """Whether a request has arrived that is not completely answered."""

    def end_if_idle(self) -> None:
        """End the connection, unless a request is in progress."""
        if not self.busy and self.task is not None:
            self.task.cancel()

    async def refuse_connection(self) -> None:
        """Answer 503 and close."""
        refusal = Refusal(
            503, f"{self.app.limits.connections} connections are open", fix="ask again in 1 s", headers={"retry-after": "1"}
        )
        with suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
            await self._write(self.app.refuse("", refusal), close=True)
            await self._linger()
        self.wire.writer.close()

    async def serve(self) -> None:
        """Answer requests until one side ends."""
        try:
            first = True
            while await self._one(first=first):
                first = False
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # the client left, or does not take what is sent; or the server ends
        finally:
            self.busy = False
            self.wire.writer.close()

    async def _one(self, *, first: bool) -> bool:
        """Answer one request; whether there may be another."""
        path = ""
        try:
            head = await self.wire.head(first=first)
            if head is None:
                return False
            self.busy, path = True, head.path
            body = await read_body(self.wire.read, head.length, self.app.limits)
        except Refusal as refusal:
            await self._write(self.app.refuse(path, refusal), close=True)
            await self._linger()
            return False
        try:
            response = await self._answered(Request(head.method, head.path, head.headers, body))
        except asyncio.CancelledError:
            self.wire.writer.write(encode(cut_off(head.path), close=True))
            raise
        if response is None:
            return False
        close = head.close or response.close or self.app.draining
        await self._write(response, close=close, chunked=head.chunks)
        self.busy = False
        return not close

    async def _answered(self, request: Request) -> Response | None:
        """The response; None where the client left before, which ends the work."""
        answer = asyncio.ensure_future(self.app.respond(request))
        gone = asyncio.ensure_future(self.wire.gone())
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            for task in (answer, gone):
                task.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)

    async def _write(self, response: Response, *, close: bool, chunked: bool = True) -> None:
        """Send `response`.

        Raises:
            ConnectionError, TimeoutError: the client left, or does not take it.
        """
        if isinstance(response.body, bytes):
            self.wire.writer.write(encode(response, close=close))
            await self._flush()
            return
        gone = asyncio.ensure_future(self.wire.gone())
        try:
            self.wire.writer.write(encode_head(response, chunked=chunked, close=close))
            while True:
                data = await response.body.part(gone)
                self.wire.writer.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)  # an empty chunk is the end
                await self._flush()
                if not data:
                    return
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            await response.body.aclose()

    async def _flush(self) -> None:
        async with asyncio.timeout(self.app.limits.write_seconds):
            await self.wire.writer.drain()

    async def _linger(self) -> None:
        """Read and discard for a moment: closing while the client sends would reset the connection before it reads the response."""
        with suppress(ConnectionError, TimeoutError, OSError):
            self.wire.writer.write_eof()
            async with asyncio.timeout(self.app.limits.linger_seconds):
                while await self.wire.reader.read(65_536):
                    pass
