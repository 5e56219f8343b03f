"""Connections of both transports: taken while there are descriptors for them, and ended one by one when the server is told to stop."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, cast

from edgekit.runtime.serve.limits import Limits

__all__ = ["Connection", "Door", "affordable", "probe_half_closed", "serve_connections"]

REFUSED = 32
"""Connections over the limit that are being told so; while there are as many, further ones wait in the system's own queue."""
OTHERS = 64
"""Descriptors for all else: the bundle's files, templates' processes, pages of metrics."""
SHARE = 0.9
"""Of the seconds for shutting down: those for requests in progress. The rest is for saying that the others were not answered."""
LAST_CALL = 0.5
"""Seconds in which open connections may still ask, and are refused with a reason, when the server shuts down."""
POLL = 0.02
"""Seconds between two looks at whether all is answered."""
PROBE = 1.0
"""Seconds between two signs of life to a client that sends no more, while its answer is made."""
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Connection(Protocol):
    """One client's connection, as its transport keeps it."""

    @property
    def busy(self) -> bool:
        """Whether a request has arrived that is not completely answered."""
        ...

    def end(self) -> None:
        """Close it, as nothing is in progress; what the client sends meanwhile is read, so that the connection is not reset."""
        ...

    def cut(self) -> Awaitable[object]:
        """Answer what is in progress with 503, and close."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


class Door:
    """The connections that are open, and those over the limit that are being refused."""

    def __init__(self, limits: Limits) -> None:
        self.most = affordable(limits.connections)
        self.open: set[Connection] = set()
        self.refused: set[Connection] = set()
        self._inside = 0
        self._change: Callable[[], None] = lambda: None

    def enter(self, connection: Connection) -> bool:
        """Whether there is room for `connection`, which must `leave`; where there is none, it is to be refused."""
        room = len(self.open) < self.most
        (self.open if room else self.refused).add(connection)
        return room

    def leave(self, connection: Connection) -> None:
        """The connection has ended; called once for each that was taken."""
        self.open.discard(connection)
        self.refused.discard(connection)
        self._inside -= 1
        self._change()

    async def take(self, listener: socket.socket, stop: asyncio.Event, make: Callable[[], asyncio.BaseProtocol]) -> None:
        """Take connections until `stop`, and then those that the system has accepted already.

        Raises:
            OSError: the listener is of no use any more.
        """
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        begun: set[asyncio.Task[object]] = set()
        listening, broken = False, loop.create_future()

        def listen() -> None:
            nonlocal listening
            wanted = not stop.is_set() and self._inside < self.most + REFUSED
            if wanted and not listening:
                loop.add_reader(listener.fileno(), ready)
            elif listening and not wanted:
                loop.remove_reader(listener.fileno())
            listening = wanted

        def ready() -> None:
            nonlocal listening
            while self._inside < self.most + REFUSED:
                try:
                    client, _ = listener.accept()
                except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                    break
                except OSError as fault:
                    if fault.errno not in NO_ROOM:
                        if not broken.done():
                            broken.set_exception(fault)
                        break
                    print(f"edgekit serve: no more connections for a while: {fault.strerror}", file=sys.stderr, flush=True)
                    loop.remove_reader(listener.fileno())
                    listening = False
                    loop.call_later(1.0, listen)
                    return
                client.setblocking(False)
                self._inside += 1
                task = loop.create_task(_begin(client))
                begun.add(task)
                task.add_done_callback(begun.discard)
            listen()

        async def _begin(client: socket.socket) -> object:
            try:
                return await loop.connect_accepted_socket(make, client)
            except OSError:  # it has left already
                client.close()
                self._inside -= 1
                listen()
                return None

        self._change = listen
        listen()
        stopped = loop.create_task(stop.wait())
        try:
            await asyncio.wait((stopped, broken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            listen()
        if broken.done():
            broken.result()
        ready()
        await asyncio.gather(*begun, return_exceptions=True)
        self._change = lambda: None


async def serve_connections(
    listener: socket.socket, stop: asyncio.Event, limits: Limits, make: Callable[[Door], asyncio.BaseProtocol]
) -> int:
    """Serve connections to `listener` until `stop`; then take no new ones and let requests in progress finish.

    `make` gives the `Connection` of a new client. Returns how many requests were aborted, when SHARE of `drain_seconds` was over.
    """
    clock = asyncio.get_running_loop().time
    door = Door(limits)
    await door.take(listener, stop, lambda: make(door))
    listener.close()
    begun = clock()
    until = begun + SHARE * limits.drain_seconds
    last_call = begun + min(LAST_CALL, limits.drain_seconds / 10)
    while (any(one.busy for one in door.open) and clock() < until) or (door.open and clock() < last_call):
        await asyncio.sleep(POLL)
    cut = [one for one in door.open if one.busy]
    for one in door.open - set(cut):
        one.end()
    await asyncio.gather(*(one.cut() for one in cut), return_exceptions=True)
    until = min(begun + limits.drain_seconds, clock() + min(LAST_CALL, limits.drain_seconds / 20))
    while door.open and clock() < until:
        await asyncio.sleep(POLL)
    while left := [*door.open, *door.refused]:
        for one in left:
            one.abort()
        await asyncio.sleep(0)
    return len(cut)


def affordable(connections: int) -> int:
    """`connections`, but no more than this process may have descriptors for, beside those that are open; at least 1."""
    try:
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        held = sum(1 for _ in Path("/dev/fd").iterdir())
    except (ImportError, OSError):  # no such limit on this system, or it does not say what is open
        return connections
    if most == resource.RLIM_INFINITY:
        return connections
    return max(1, min(connections, most - held - REFUSED - OTHERS))


def probe_half_closed(transport: asyncio.WriteTransport, waiting: Callable[[], bool]) -> None:
    """Find out whether a client that sends no more still reads, for as long as it is `waiting` for the beginning of its answer.

    The end of what it sends looks the same where it has left and where it only has no more to say (RFC 9112, 9.6). Of the two, only who has
    left answers a sign of life (an interim 100 Continue, which clients of HTTP/1.1 pass over) with a reset.
    """
    loop = asyncio.get_running_loop()

    def probe() -> None:
        if transport.is_closing() or not waiting():
            return
        client = cast("socket.socket", transport.get_extra_info("socket"))
        if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            transport.abort()
            return
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        loop.call_later(PROBE, probe)

    loop.call_later(PROBE, probe)
