"""Requests, responses and refusals, independent of the transport, and strict parsing of bodies."""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Never

from edgekit.runtime.errors import EdgekitError
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.reader import Reads
from edgekit.runtime.serve.limits import Limits
from edgekit.runtime.serve.stream import Stream
from edgekit.runtime.strict_json import check_structure

__all__ = ["Bodies", "Refusal", "Request", "Response", "check_names", "json_response", "parse_json", "read_body"]

DEEPEST = 200
"""Lists and objects within one another in a request, at most."""
LINGER = 16
"""Times the body's limit that are read and discarded before a refusal."""
SMALLER: dict[Reads | None, str] = {
    None: "send less",
    "text": "send fewer or shorter texts",
    "image": "send fewer or smaller images, or their bytes in a binary tensor, a quarter less than base64",
    "sound": "send fewer or shorter sounds, or their bytes in a binary tensor, a quarter less than base64",
}
"""What to do about a body that is too large, by what the model reads."""
MOST_FAULTS, LONGEST_NAME = 20, 60
"""Unknown names that an answer lists, and characters of each."""


@dataclass(frozen=True)
class Request:
    """One complete request."""

    method: str
    path: str
    """Percent-decoded, without the query."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = b""


@dataclass
class Bodies:
    """The bodies of requests that are being read or answered, of all connections."""

    limits: Limits
    reads: Reads | None = None
    """What the model reads; None while there is none."""
    held: int = 0
    """Bytes of them."""

    @property
    def largest(self) -> int:
        """Bytes of one; before it is known what the model reads as many as it might."""
        if self.reads is None:
            return max(self.limits.body, self.limits.file_body)
        return self.limits.body if self.reads == "text" else self.limits.file_body

    def take(self, size: int) -> bool:
        """Whether there is room for `size` bytes more, which are held then."""
        room = self.held + size <= max(self.limits.bodies, self.largest)
        self.held += size if room else 0
        return room


@dataclass(frozen=True)
class Response:
    """An answer: bytes, or a `Stream` of parts, which the transport must close in any case."""

    status: int
    body: bytes | Stream
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    close: bool = False
    """Whether the connection is closed after it."""


class Refusal(Exception):
    """A request that is answered with `status` instead of a result; says what is wrong, where, and what to do."""

    def __init__(
        self, status: int, what: str, *, where: str | None = None, fix: str | None = None,
        faults: Collection[str] = (), headers: dict[str, str] | None = None, close: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(what)
        self.status = status
        self.fault = EdgekitError(what, where=where, fix=fix, faults=tuple(faults))
        self.headers = headers or {}
        self.close = close


def json_response(document: JsonObject, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`document` as JSON."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Response(status, body.encode("utf-8", "replace"), headers=headers or {})


def parse_json(data: bytes, where: str = "body") -> dict[str, object]:
    """The JSON object in `data`.

    Raises:
        Refusal: 400 where it is not UTF-8, not JSON, not an object, nested too deeply, or has duplicate keys, NaN or Infinity.
    """
    try:
        text = data.decode("utf-8")
        check_structure(data, DEEPEST)
        document = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError as fault:
        raise Refusal(400, f"not valid UTF-8: {fault}", where=where, fix="send JSON in UTF-8") from None
    except ValueError as fault:
        raise Refusal(400, f"not sound JSON: {fault}", where=where, fix="send one JSON object") from None
    if not isinstance(document, dict):
        raise Refusal(400, f"a JSON object is wanted, not {type(document).__name__}", where=where)
    return document


def check_names(given: Collection[str], known: Collection[str], where: str) -> None:
    """Refuse names in `given` that are not `known`, each with the nearest known one.

    Raises:
        Refusal: 400.
    """
    unknown = [name for name in given if name not in known]
    if not unknown:
        return
    faults = []
    for name in unknown[:MOST_FAULTS]:  # nearest names for a hundred thousand would take seconds
        near = difflib.get_close_matches(name[:LONGEST_NAME], known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        faults.append(f"{name[:LONGEST_NAME]!r}: unknown; {hint}")
    raise Refusal(400, "fields that nothing here reads", where=where, faults=faults, fix="leave them out")


async def read_body(read: Callable[[], Awaitable[bytes]], declared: int | None, bodies: Bodies) -> bytes:
    """The body: all parts that `read` gives until an empty one, counted in `bodies`, which the caller takes its length off again in the end.
    `declared`: the value of Content-Length.

    Raises:
        Refusal: 413 where it is larger than the limit, 408 where it comes too slowly, 503 where too much is held already.
    """
    limits, largest = bodies.limits, bodies.largest
    body, size = bytearray(), 0
    refusal = _too_large(declared, bodies) if declared is not None and declared > largest else None
    try:
        async with asyncio.timeout(limits.body_seconds if refusal is None else limits.linger_seconds) as timer:
            while part := await read():
                size += len(part)
                if refusal is None:
                    if size > largest:
                        refusal = _too_large(declared, bodies)
                    elif not bodies.take(len(part)):
                        what = f"the bodies of all requests are {bodies.held:,} bytes already"
                        refusal = Refusal(503, what, fix="ask again in 1 s", headers={"retry-after": "1"}, close=True)
                    else:
                        body += part
                        continue
                    bodies.held -= len(body)
                    body.clear()
                    timer.reschedule(asyncio.get_running_loop().time() + limits.linger_seconds)
                if size > LINGER * largest:
                    break
    except TimeoutError:
        if refusal is None:
            refusal = Refusal(
                408, f"the body did not come within {limits.body_seconds:g} s", where="body", fix="send it faster", close=True
            )
            bodies.held -= len(body)
    except BaseException:  # the client has left, or sent chunks that are none
        bodies.held -= len(body)
        raise
    if refusal is not None:
        raise refusal from None
    return bytes(body)


def _too_large(declared: int | None, bodies: Bodies) -> Refusal:
    size = f"a body of {declared:,} bytes" if declared is not None else "the body"
    fix = f"{SMALLER[bodies.reads]}, or start the server with a larger --max-body"
    return Refusal(413, f"{size} is larger than {bodies.largest:,} bytes", where="body", close=True, fix=fix)


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document: dict[str, object] = {}
    for key, value in pairs:
        if key in document:
            raise ValueError(f"duplicate key {key[:LONGEST_NAME]!r}")
        document[key] = value
    return document


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON number")
