"""HTTP/1.1 on one connection, parsed strictly (RFC 9112): ambiguous requests are refused and the connection is closed."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from edgekit.runtime.serve.limits import Limits
from edgekit.runtime.serve.message import Refusal, Response

__all__ = ["Head", "Wire", "encode", "encode_head", "split_target"]

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
SIZE = re.compile(r"[0-9a-fA-F]{1,8}")
CHUNK = 65_536


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
    phrase = HTTPStatus(response.status).phrase if response.status in HTTPStatus._value2member_map_ else ""
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
    """The byte stream of a connection, with a buffer of unread bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: Limits) -> None:
        self.reader = reader
        self.writer = writer
        self.limits = limits
        self._held = bytearray()
        self._left: int | None = 0
        """Bytes of the body that have not been read; None: chunks follow."""

    async def head(self, *, first: bool) -> Head | None:
        """The next request's head; None where the client has closed the connection, or was silent for too long.

        Raises:
            Refusal: 400, 408, 431, 501 or 505; the connection is of no further use.
        """
        try:
            async with asyncio.timeout(self.limits.head_seconds if first else self.limits.idle_seconds):
                while not self._held.lstrip(b"\r\n"):
                    if not await self._fill():
                        return None
        except TimeoutError:
            return None
        try:
            async with asyncio.timeout(self.limits.head_seconds):
                while (end := self._held.find(b"\r\n\r\n")) < 0:
                    if len(self._held) > self.limits.head:
                        break
                    if not await self._fill():
                        return None
        except TimeoutError:
            what = f"the request's head did not come within {self.limits.head_seconds:g} s"
            raise Refusal(408, what, fix="send it faster", close=True) from None
        if not 0 <= end <= self.limits.head:
            what = f"a head of more than {self.limits.head:,} bytes"
            raise Refusal(431, what, where="headers", fix="send fewer or shorter headers", close=True)
        lines = bytes(self._held[:end]).lstrip(b"\r\n").decode("latin-1").split("\r\n")
        del self._held[: end + 4]
        head = _parse(lines)
        self._left = head.length
        if head.headers.get("expect", "").lower() == "100-continue" and head.length != 0:
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return head

    async def read(self) -> bytes:
        """The next part of the body; empty at its end.

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

    async def gone(self) -> None:
        """Returns when the client has left; keeps what it sends meanwhile, up to a limit."""
        while len(self._held) <= self.limits.head:
            if not await self._fill():
                return
        await asyncio.Event().wait()

    async def _chunk(self) -> bytes:
        line = await self._line()
        size = line.partition(b";")[0].strip().decode("latin-1")
        if not SIZE.fullmatch(size):
            raise Refusal(400, "a chunk without a size", where="body", close=True)
        count = int(size, 16)
        if count == 0:
            for _ in range(64):  # trailers, which are ignored
                if not await self._line():
                    self._left = 0
                    return b""
            raise Refusal(400, "more than 64 trailers", where="body", close=True)
        if count > 16 * self.limits.body:
            raise Refusal(413, f"a chunk of {count:,} bytes", where="body", fix="send less", close=True)
        while len(self._held) < count + 2:
            await self._more()
        if self._held[count : count + 2] != b"\r\n":
            raise Refusal(400, "a chunk that is longer than its size", where="body", close=True)
        part = bytes(self._held[:count])
        del self._held[: count + 2]
        return part

    async def _line(self) -> bytes:
        while (end := self._held.find(b"\r\n")) < 0:
            if len(self._held) > 4096:
                raise Refusal(400, "a line of more than 4,096 bytes between chunks", where="body", close=True)
            await self._more()
        line = bytes(self._held[:end])
        del self._held[: end + 2]
        return line

    async def _some(self, most: int) -> bytes:
        if not self._held:
            await self._more()
        part = bytes(self._held[:most])
        del self._held[:most]
        return part

    async def _more(self) -> None:
        if not await self._fill():
            raise ConnectionResetError("the client left within a body")

    async def _fill(self) -> bool:
        data = await self.reader.read(CHUNK)
        self._held += data
        return bool(data)


def _parse(lines: list[str]) -> Head:
    """The request head in `lines`.

    Raises:
        Refusal: 400, 501 or 505.
    """
    parts = lines[0].split(" ")
    if len(parts) != 3 or not TOKEN.fullmatch(parts[0]) or not re.fullmatch(r"HTTP/\d\.\d", parts[2]):
        raise Refusal(400, "not an HTTP request", where="request line", close=True)
    if parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise Refusal(505, f"{parts[2]} is not supported", where="request line", fix="use HTTP/1.1", close=True)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon or not TOKEN.fullmatch(name) or any(ord(letter) < 32 and letter != "\t" for letter in value):
            raise Refusal(400, f"not a header: {line[:60]!r}", where="headers", close=True)
        name = name.lower()
        if name in headers and name in ("content-length", "transfer-encoding", "host", "content-type"):
            raise Refusal(400, f"duplicate header {name}", where="headers", close=True)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if parts[2] == "HTTP/1.1" and "host" not in headers:
        raise Refusal(400, "no Host", where="headers", close=True)
    wants = headers.get("connection", "").lower()
    new = parts[2] == "HTTP/1.1"
    path, host = split_target(parts[1])
    if host is not None:
        headers["host"] = host
    return Head(parts[0], path, headers, _length(headers), close="close" in wants or not new, chunks=new)


def split_target(target: str) -> tuple[str, str | None]:
    """(path, percent-decoded and without the query; host of the absolute form, which overrules the header) of a request target.

    Source: RFC 9112, 3.2.2.

    Raises:
        Refusal: 400.
    """
    if not re.match("https?://", target, re.IGNORECASE):
        return unquote(target.partition("?")[0], errors="replace"), None
    try:
        parts = urlsplit(target)
    except ValueError:
        raise Refusal(400, f"not a request target: {target[:60]!r}", where="request line", close=True) from None
    return unquote(parts.path or "/", errors="replace"), parts.netloc


def _length(headers: dict[str, str]) -> int | None:
    given, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if given is not None:
            raise Refusal(400, "both Content-Length and Transfer-Encoding", where="headers", close=True)
        if coding.lower() != "chunked":
            raise Refusal(501, f"transfer coding {coding[:40]!r}", where="Transfer-Encoding", fix="use chunked", close=True)
        return None
    if given is not None and not re.fullmatch(r"[0-9]{1,15}", given):
        raise Refusal(400, f"{given[:40]!r} is not a length", where="Content-Length", close=True)
    return int(given or 0)
