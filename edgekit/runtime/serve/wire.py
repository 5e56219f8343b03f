"""HTTP/1.1 on one connection, parsed strictly (RFC 9112): ambiguous requests are refused and the connection is closed."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

from edgekit.runtime.serve.authority import parse_authority
from edgekit.runtime.serve.limits import Limits
from edgekit.runtime.serve.message import Refusal, Response

__all__ = ["Head", "Wire", "encode", "encode_head", "head_end", "parse_head"]

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
TARGET = re.compile(r"[!-~]+")
VERSION = re.compile(r"HTTP/[0-9]\.[0-9]")
VALUE = re.compile(r"[\t -~\x80-\xff]*")
SIZE = re.compile(r"[0-9a-fA-F]{1,8}")
PHRASES = {status.value: status.phrase for status in HTTPStatus}
CHUNK = 65_536
END = b"\r\n\r\n"
LONE = re.compile(rb"(?<!\r)\n")


@dataclass(frozen=True)
class Head:
    """A request without its body."""

    method: str
    path: str
    """Percent-decoded, without the query."""
    headers: dict[str, str]
    """Names in lower case; repeated ones joined by commas."""
    length: int | None
    """Bytes of the body; None: in chunks."""
    close: bool
    """Whether the client wants the connection to end with the response."""
    chunks: bool
    """Whether the client understands a body in chunks (from HTTP/1.1 on)."""


def encode_head(response: Response, *, chunked: bool, close: bool) -> bytes:
    """Status line and headers of `response`."""
    phrase = PHRASES.get(response.status, "")
    headers = {"content-type": response.kind, **response.headers}
    if chunked:
        headers["transfer-encoding"] = "chunked"
    elif isinstance(response.body, bytes):
        headers.setdefault("content-length", str(len(response.body)))
    if close:
        headers["connection"] = "close"
    lines = [f"HTTP/1.1 {response.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def encode(response: Response, *, close: bool) -> bytes:
    """All bytes of a `response` that is not a stream."""
    assert isinstance(response.body, bytes), "a stream is sent in parts"
    return encode_head(response, chunked=False, close=close) + response.body


class Wire:
    """The bytes of a connection: what has arrived and is not read yet, and what is sent.

    It is fed by the connection's protocol, and read by one task.
    """

    def __init__(self, transport: asyncio.Transport, limits: Limits) -> None:
        self.transport = transport
        self.limits = limits
        self.ended = False
        """Whether the client sends no more."""
        self._held = bytearray()
        self._left: int | None = 0
        """Bytes of the body that have not been read; None: chunks follow."""
        self._in_chunk = 0
        """Bytes of the current chunk that have not been read."""
        self._more: asyncio.Future[None] | None = None
        """Who waits for bytes, or for their end."""
        self._room: asyncio.Future[None] | None = None
        """Who waits until the client has taken what was sent; None: it takes everything at once."""
        self._paused = False

    def feed(self, data: bytes) -> None:
        """`data` has arrived; what is far more than a head is left to the system until it is read."""
        self._held += data
        if len(self._held) > self.limits.head + CHUNK and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        _wake(self._more)

    def feed_end(self) -> None:
        """The client sends no more, or has left."""
        self.ended = True
        _wake(self._more)

    def pause(self) -> None:
        """The client does not take what is sent."""
        self._room = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """It takes it again."""
        _wake(self._room)
        self._room = None

    async def send(self, data: bytes) -> None:
        """Send `data`.

        Raises:
            ConnectionError, TimeoutError: the client has left, or does not take it.
        """
        if self.transport.is_closing():
            raise ConnectionResetError("the client left")
        self.transport.write(data)
        if self._room is not None:
            async with asyncio.timeout(self.limits.write_seconds):
                await self._room

    async def head(self, *, first: bool) -> Head | None:
        """The next request's head; None where the client has closed the connection, or was silent for too long after an answer.

        Raises:
            Refusal: 400, 408, 431, 501 or 505; the connection is of no further use.
        """
        try:
            async with asyncio.timeout(self.limits.head_seconds if first else self.limits.idle_seconds):
                while not self._held.strip(b"\r\n"):
                    self._held.clear()
                    if not await self._fill():
                        return None
        except TimeoutError:
            if first:
                raise self._late() from None
            return None
        if (end := head_end(self._held, self.limits)) is None:
            try:
                async with asyncio.timeout(self.limits.head_seconds):
                    while (end := head_end(self._held, self.limits)) is None:
                        if not await self._fill():
                            return None
            except TimeoutError:
                raise self._late() from None
        head = parse_head(self._held[:end])
        del self._held[: end + len(END)]
        self._left = head.length
        if head.headers.get("expect", "").lower() == "100-continue" and head.length != 0:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return head

    def _late(self) -> Refusal:
        what = f"the request's head did not come within {self.limits.head_seconds:g} s"
        return Refusal(408, what, fix="send it faster", close=True)

    async def read(self) -> bytes:
        """The next part of the body, as it arrives; empty at its end.

        Raises:
            Refusal: 400 for chunks that are none.
            ConnectionError: the client left within it.
        """
        if self._left is None:
            return await self._chunk()
        if not self._left:
            return b""
        part = await self._some(min(self._left, CHUNK))
        self._left -= len(part)
        return part

    def whole(self) -> bytes | None:
        """The whole body, where all of it is here already; None where it is not, or comes in chunks."""
        if self._left is None or len(self._held) < self._left:
            return None
        body = bytes(self._held[: self._left])
        del self._held[: self._left]
        self._left = 0
        return body

    def discard(self) -> None:
        """Forget what has arrived: it is not read any more."""
        self._held.clear()
        self._read_on()

    async def wait_end(self) -> None:
        """Discard whatever the client sends, until it ends."""
        self.discard()
        while await self._fill():
            self.discard()

    async def _chunk(self) -> bytes:
        if not self._in_chunk:
            size = (await self._line()).partition(b";")[0].rstrip(b" \t").decode("latin-1")
            if not SIZE.fullmatch(size):
                raise Refusal(400, "a chunk without a size", where="body", close=True)
            self._in_chunk = int(size, 16)
            if not self._in_chunk:
                for _ in range(64):  # trailers, which are ignored
                    if not await self._line():
                        self._left = 0
                        return b""
                raise Refusal(400, "more than 64 trailers", where="body", close=True)
        part = await self._some(min(self._in_chunk, CHUNK))
        self._in_chunk -= len(part)
        if not self._in_chunk and await self._line(0):
            raise Refusal(400, "a chunk that is longer than its size", where="body", close=True)
        return part

    async def _line(self, longest: int = 4096) -> bytes:
        while (end := self._held.find(b"\r\n")) < 0:
            if len(self._held) > longest + 1:
                break
            await self._some_more()
        if not 0 <= end <= longest:
            what = (
                f"a line of more than {longest:,} bytes between chunks" if longest else "a chunk that is longer than its size"
            )
            raise Refusal(400, what, where="body", close=True)
        line = bytes(self._held[:end])
        del self._held[: end + 2]
        return line

    async def _some(self, most: int) -> bytes:
        if not self._held:
            await self._some_more()
        part = bytes(self._held[:most])
        del self._held[:most]
        return part

    async def _some_more(self) -> None:
        if not await self._fill():
            raise ConnectionResetError("the client left within a body")

    async def _fill(self) -> bool:
        """Wait for bytes that were not there; False where no more will come."""
        if self.ended:
            return False
        self._read_on()
        before = len(self._held)
        while len(self._held) == before and not self.ended:
            self._more = asyncio.get_running_loop().create_future()
            try:
                await self._more
            finally:
                self._more = None
        return len(self._held) > before

    def _read_on(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()


def head_end(data: bytes | bytearray, limits: Limits) -> int | None:
    """Where the head ends that `data` begins with; None where more of it is to come.

    Raises:
        Refusal: 431 where it is too long, 400 where a line ends by a line feed alone, so that its end may never come.
    """
    end = data.find(END, 0, limits.head + len(END))
    if end >= 0:
        return end
    if len(data) > limits.head:
        what = f"a head of more than {limits.head:,} bytes"
        raise Refusal(431, what, where="headers", fix="send fewer or shorter headers", close=True)
    if LONE.search(data):
        raise Refusal(400, "a line that ends by a line feed alone", where="headers", fix="end lines by CR LF", close=True)
    return None


def parse_head(data: bytes | bytearray) -> Head:
    """The request head `data`, perhaps after empty lines.

    Raises:
        Refusal: 400, 501 or 505.
    """
    return _parse(data.lstrip(b"\r\n").decode("latin-1").split("\r\n"))


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _parse(lines: list[str]) -> Head:
    """The request head in `lines`.

    Raises:
        Refusal: 400, 501 or 505.
    """
    parts = lines[0].split(" ")
    if len(parts) != 3 or not TOKEN.fullmatch(parts[0]) or not TARGET.fullmatch(parts[1]) or not VERSION.fullmatch(parts[2]):
        raise Refusal(400, "not an HTTP request", where="request line", close=True)
    if parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise Refusal(505, f"{parts[2]} is not supported", where="request line", fix="use HTTP/1.1", close=True)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon or not TOKEN.fullmatch(name) or not VALUE.fullmatch(value):
            raise Refusal(400, f"not a header: {line[:60]!r}", where="headers", close=True)
        name = name.lower()
        if name in headers and name in ("content-length", "transfer-encoding", "host", "content-type"):
            raise Refusal(400, f"duplicate header {name}", where="headers", close=True)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    new = parts[2] == "HTTP/1.1"
    if new and "host" not in headers:
        raise Refusal(400, "no Host", where="headers", close=True)
    path, host = _split_target(parts[1])
    if host is not None:
        headers["host"] = host
    if headers.get("host") and parse_authority(headers["host"]) is None:  # RFC 9112, 3.2
        raise Refusal(400, f"not a host: {headers['host'][:60]!r}", where="Host", close=True)
    wants = headers.get("connection", "").lower()
    return Head(parts[0], path, headers, _length(headers, new=new), close="close" in wants or not new, chunks=new)


def _split_target(target: str) -> tuple[str, str | None]:
    """(path, percent-decoded and without the query; host of the absolute form, which overrules the header) of a request target.

    Source: RFC 9112, 3.2.2.

    Raises:
        Refusal: 400.
    """
    if target.startswith("/"):
        return unquote(target.partition("?")[0], errors="replace"), None
    absolute = re.fullmatch(r"(?i:https?)://([^/?#]*)(/[^?#]*)?(?:\?[^#]*)?", target)
    if absolute is None:
        raise Refusal(400, f"not a request target: {target[:60]!r}", where="request line", close=True)
    return unquote(absolute[2] or "/", errors="replace"), absolute[1]


def _length(headers: dict[str, str], *, new: bool) -> int | None:
    given, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if given is not None:
            raise Refusal(400, "both Content-Length and Transfer-Encoding", where="headers", close=True)
        if not new:
            raise Refusal(400, "HTTP/1.0 knows no Transfer-Encoding", where="headers", close=True)
        if coding.lower() != "chunked":
            raise Refusal(501, f"transfer coding {coding[:40]!r}", where="Transfer-Encoding", fix="use chunked", close=True)
        return None
    if given is not None and not re.fullmatch(r"[0-9]{1,15}", given):
        raise Refusal(400, f"{given[:40]!r} is not a length", where="Content-Length", close=True)
    return int(given or 0)
