"""What is no sound HTTP/1.1 is refused, and by both transports alike; connections, chunks and hosts are counted and parsed as they come."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.serve.authority import Authority, is_local, parse_authority, same_origin
from edgekit.runtime.serve.command import listen
from edgekit.runtime.serve.door import OTHERS, REFUSED, affordable
from edgekit.runtime.serve.limits import Limits
from edgekit.runtime.serve.message import Bodies, Refusal, read_body
from edgekit.runtime.serve.wire import Wire, head_end
from tests.runtime.serve.serving import LIMITS, Server, served
from tests.runtime.serve.test_serve_abuse import INFER, TEXT
from tests.waiting import PATIENCE_SECONDS, wait_for

BODY = json.dumps({"inputs": [TEXT]}).encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)


def head(*lines: bytes, first: bytes = b"POST " + INFER.encode() + b" HTTP/1.1", host: bytes = b"Host: localhost\r\n") -> bytes:
    return first + b"\r\n" + host + b"Connection: close\r\nContent-Type: application/json\r\n" + b"".join(lines) + b"\r\n"


GET = b"GET /v2/health/live HTTP/1.1"
CASES: dict[str, tuple[bytes, int]] = {
    "as it should be": (head(LENGTH) + BODY, 200),
    "an empty line before it": (b"\r\n" + head(LENGTH) + BODY, 200),
    "line feeds alone": (head(LENGTH).replace(b"\r\n", b"\n") + BODY, 400),
    "one line feed alone": (head(b"X-One: 1\n" + LENGTH) + BODY, 400),
    "a carriage return alone": (head(b"X-One: 1\rX-Two: 2\r\n", LENGTH) + BODY, 400),
    "a folded header": (head(b"X-One: 1\r\n  more\r\n", LENGTH) + BODY, 400),
    "a folded header, first": (b"POST / HTTP/1.1\r\n Host: localhost\r\n\r\n", 400),
    "a space before the colon": (head(b"Content-Length : 5\r\n") + BODY, 400),
    "a NUL in a header": (head(b"X-One: a\0b\r\n", LENGTH) + BODY, 400),
    "a NUL in a name": (head(b"X\0One: a\r\n", LENGTH) + BODY, 400),
    "a control character": (head(b"X-One: \x01\r\n", LENGTH) + BODY, 400),
    "DEL": (head(b"X-One: \x7f\r\n", LENGTH) + BODY, 400),
    "Latin-1 in a header": (head(b"X-One: \xe9\r\n", LENGTH) + BODY, 200),
    "no name": (head(b": a\r\n", LENGTH) + BODY, 400),
    "both length and chunks": (head(LENGTH, CHUNKED) + b"0\r\n\r\n", 400),
    "two lengths": (head(LENGTH, b"Content-Length: 1\r\n") + BODY, 400),
    "the same length twice": (head(LENGTH, LENGTH) + BODY, 400),
    "lengths in a list": (head(b"Content-Length: 5, 5\r\n") + BODY, 400),
    "a length below zero": (head(b"Content-Length: -1\r\n") + BODY, 400),
    "a length with a sign": (head(b"Content-Length: +5\r\n") + BODY, 400),
    "a length in hexadecimal": (head(b"Content-Length: 0x5\r\n") + BODY, 400),
    "no length": (head(b"Content-Length: \r\n") + BODY, 400),
    "a length of many digits": (head(b"Content-Length: " + b"9" * 400 + b"\r\n") + BODY, 400),
    "another coding": (head(b"Transfer-Encoding: gzip\r\n") + BODY, 501),
    "two codings": (head(b"Transfer-Encoding: gzip, chunked\r\n") + BODY, 501),
    "chunks twice": (head(CHUNKED, CHUNKED) + b"0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (head(CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n", 400),
    "an extension of a chunk": (head(CHUNKED) + b"%x;a=b\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n", 200),
    "a chunk without a size": (head(CHUNKED) + b"\r\n0\r\n\r\n", 400),
    "a chunk below zero": (head(CHUNKED) + b"-1\r\n0\r\n\r\n", 400),
    "a chunk with a prefix": (head(CHUNKED) + b"0x1\r\na\r\n0\r\n\r\n", 400),
    "a chunk after a space": (head(CHUNKED) + b" 1\r\na\r\n0\r\n\r\n", 400),
    "a chunk of many digits": (head(CHUNKED) + b"f" * 40 + b"\r\n", 400),
    "a chunk that is longer": (head(CHUNKED) + b"1\r\nabc\r\n0\r\n\r\n", 400),
    "68 kB of headers": (head(b"X-One: " + b"x" * 68_000 + b"\r\n", LENGTH) + BODY, 431),
    "many headers": (head(*(b"X-%d: 1\r\n" % number for number in range(900)), LENGTH) + BODY, 431),
    "a long target": (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    "two spaces": (head(first=b"GET  /v2 HTTP/1.1"), 400),
    "a tab": (head(first=b"GET\t/v2 HTTP/1.1"), 400),
    "no version": (head(first=b"GET /v2"), 400),
    "another version": (head(first=b"GET /v2 HTTP/2.0"), 505),
    "a version in lower case": (head(first=b"GET /v2 http/1.1"), 400),
    "a control character in the target": (head(first=b"GET /v\x0b2 HTTP/1.1"), 400),
    "a byte of no ASCII in the target": (head(first=b"GET /v\xff2 HTTP/1.1"), 400),
    "a target in absolute form": (head(first=b"GET http://localhost/v2/health/live HTTP/1.1"), 200),
    "a target in absolute form, elsewhere": (head(first=b"GET http://evil.example/v2/health/live HTTP/1.1"), 403),
    "a target in absolute form, with a user": (head(first=b"GET http://localhost@evil.example/v2/health/live HTTP/1.1"), 400),
    "another scheme": (head(first=b"GET ftp://localhost/v2/health/live HTTP/1.1"), 400),
    "a target without a slash": (head(first=b"GET v2 HTTP/1.1"), 400),
    "the target of CONNECT": (head(first=b"CONNECT localhost:80 HTTP/1.1"), 400),
    "a star": (head(first=b"OPTIONS * HTTP/1.1"), 400),
    "no host": (head(first=GET, host=b""), 400),
    "two hosts": (head(b"Host: localhost\r\n", first=GET), 400),
    "a host in HTTP/1.0": (head(first=GET.replace(b"1.1", b"1.0")), 200),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
}
HOSTS: dict[bytes, int] = {
    b"localhost": 200, b"LocalHost:8000": 200, b"localhost.": 200, b"localhost.:1": 200, b"a.localhost": 200, b"127.0.0.1:": 200,
    b"127.9.9.9": 200, b"[::1]": 200, b"[::1]:65535": 200, b"[0:0:0:0:0:0:0:1]": 200, b"[::ffff:127.0.0.1]": 200,
    b"evil.example": 403, b"localhost.evil.example": 403, b"evillocalhost": 403, b"127.0.0.1.evil.example": 403, b"127.1": 403,
    b"2130706433": 403, b"0x7f000001": 403, b"0.0.0.0": 403, b"[::2]": 403, b"[::ffff:10.0.0.1]": 403, b"": 403,
    b"user@localhost": 400, b"localhost:80@evil.example": 400, b"localhost@evil.example": 400, b"localhost/": 400, b"localhost?x": 400,
    b"localhost#x": 400, b"localhost:80:80": 400, b"localhost:x": 400, b"localhost:65536": 400, b"localhost:-1": 400, b"::1": 400,
    b"[::1": 400, b"[]": 400, b"[localhost]": 400, b"[127.0.0.1]": 400, b"[::1%25lo]": 400, b"local host": 400, b"localhost,evil": 400,
    b"localhost\\evil": 400, b"l\xf6calhost": 400, b"%6cocalhost": 400,
}  # fmt: skip


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d+) ", answer)
    assert found, answer[:100]
    return int(found[1])


@pytest.mark.parametrize("name", CASES)
def test_sound_or_refused(classifying: Server, name: str) -> None:
    sent, wanted = CASES[name]
    assert status(classifying.raw(sent, pause=0.01 if len(sent) < 100 else 0.0)) == wanted


@pytest.mark.parametrize("name", ["as it should be", "both length and chunks", "a folded header", "68 kB of headers"])
def test_also_behind_a_sound_one_and_byte_by_byte(classifying: Server, name: str) -> None:
    sent, wanted = CASES[name]
    sound = head(first=GET).replace(b"Connection: close\r\n", b"")
    found = re.findall(rb"HTTP/1\.1 (\d+) ", classifying.raw(sound + sent))
    assert [int(one) for one in found] == [200, wanted]
    if len(sent) < 1000:
        assert status(classifying.raw(sent, parts=len(sent), pause=0.0001)) == wanted


@pytest.mark.parametrize("host", HOSTS)
def test_hosts(classifying: Server, host: bytes) -> None:
    assert status(classifying.raw(head(first=GET, host=b"Host: " + host + b"\r\n"))) == HOSTS[host]


def test_hosts_are_parsed() -> None:
    assert parse_authority("Device.LAN.:80") == Authority("device.lan", 80)
    assert parse_authority("[0::1]") == Authority("::1", None)
    assert is_local("device.lan", {"device.lan"}) and not is_local("device.lan")
    for origin, host, same in (
        ("http://localhost:8000", "localhost:8000", True), ("http://LOCALHOST", "localhost:80", True), ("https://localhost", "localhost:443", True),
        ("http://localhost:8000", "localhost:8001", False), ("http://localhost", "127.0.0.1", False), ("null", "localhost", False),
        ("file://localhost", "localhost", False), ("http://localhost/", "localhost", False), ("http://evil@localhost", "localhost", False),
    ):  # fmt: skip
        assert same_origin(origin, host) is same, (origin, host)


def test_a_body_in_chunks_is_counted_as_it_arrives() -> None:
    """Of a chunk that is said to be of gigabytes, and of a million chunks of one byte, no more than the limit is ever kept."""
    limits = Limits(body=300_000, linger_seconds=0.2)
    bodies = Bodies(limits, "text")

    class Transport:
        paused = False

        def is_closing(self) -> bool:
            return False

        def pause_reading(self) -> None:
            self.paused = True

        def resume_reading(self) -> None:
            self.paused = False

    async def read(part: bytes, first: bytes) -> tuple[int, int]:
        transport = Transport()
        wire = Wire(transport, limits)  # type: ignore[arg-type]
        wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + first)
        assert await wire.head(first=True)

        async def send() -> None:
            for _ in range(2_000_000 // len(part)):
                while transport.paused:
                    await asyncio.sleep(0)
                wire.feed(part)

        sends = asyncio.ensure_future(send())
        try:
            with pytest.raises(Refusal, match="larger than 300,000 bytes"):
                await read_body(wire.read, None, bodies)
        finally:
            sends.cancel()
        return tracemalloc.get_traced_memory()

    for part, first in ((b"x" * 65_536, b"7fffffff\r\n"), (b"1\r\nx\r\n" * 10_000, b"")):
        tracemalloc.start()
        try:
            _, peak = asyncio.run(read(part, first))
        finally:
            tracemalloc.stop()
        assert peak < 3 * limits.body and not bodies.held


def body(bodies: Bodies, *parts: bytes, declared: int | None = None, fault: type[BaseException] | None = None) -> bytes:
    """What `read_body` makes of `parts`; after them the body ends, or there is a `fault`."""
    given = iter(parts)

    async def read() -> bytes:
        part = next(given, b"")
        if not part and fault is not None:
            raise fault
        return part

    return asyncio.run(read_body(read, declared, bodies))


def test_the_largest_body_follows_what_the_model_reads() -> None:
    limits = Limits(body=10, file_body=100, linger_seconds=0.1)
    for reads, most, words in (
        ("text", 10, "shorter texts"),
        ("image", 100, "smaller images"),
        ("sound", 100, "shorter sounds"),
        (None, 100, "less"),
    ):
        bodies = Bodies(limits, reads)  # type: ignore[arg-type]
        assert body(bodies, b"x" * most) == b"x" * most and bodies.held == most, "it is held until it is answered"
        bodies.held = 0
        for declared in (None, most + 1):
            with pytest.raises(Refusal, match=f"larger than {most} bytes") as refusal:
                body(bodies, b"x" * most, b"x", declared=declared)
            assert refusal.value.status == 413 and words in str(refusal.value.fault.fix) and not bodies.held


def test_all_bodies_together_have_a_bound() -> None:
    bodies = Bodies(Limits(body=10, bodies=25, linger_seconds=0.1), "text")
    for _ in range(2):
        assert body(bodies, b"x" * 5, b"y" * 5)
    with pytest.raises(Refusal, match="20 bytes already") as refusal:
        body(bodies, b"x" * 6, b"y" * 2)
    assert refusal.value.status == 503 and refusal.value.headers["retry-after"] == "1" and bodies.held == 20
    with pytest.raises(Refusal, match="25 bytes already"):
        body(bodies, b"x" * 5, b"y")
    assert body(bodies, b"x" * 5) == b"x" * 5, "there is room for so many"
    bodies.held = 0
    for fault in (ConnectionResetError, asyncio.CancelledError):
        with pytest.raises(fault):
            body(bodies, b"x" * 5, fault=fault)
        assert not bodies.held, "a client who leaves holds nothing"
    assert len(body(Bodies(Limits(body=30, bodies=25), "text"), b"x" * 30)) == 30, "one of any size that may be sent"


def test_heads_of_any_length_are_refused_in_bounds() -> None:
    for data in (b"x" * 20_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 4000 + b"\r\n"):
        with pytest.raises(Refusal, match="a head of more than"):
            head_end(data, Limits())


def test_a_flood_of_connections_waits_and_is_answered(
    classifier: Path, transport: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Many more than there may be: as many as there is room for are served, some are refused, the others wait with the system."""
    with served(classifier, transport, replace(LIMITS, linger_seconds=0.2)) as server:
        before = len(os.listdir("/dev/fd")) if Path("/dev/fd").exists() else 0  # noqa: PTH208
        clients = [socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS) for _ in range(150)]
        try:
            wait_for(lambda: len(os.listdir("/dev/fd")) >= before + 150 + LIMITS.connections)  # noqa: PTH208
            assert len(os.listdir("/dev/fd")) <= before + 150 + LIMITS.connections + REFUSED  # noqa: PTH208
        finally:
            for client in clients:
                client.close()
        wait_for(lambda: server.ask("GET", "/v2/health/live")[0] == 200)
    assert "Traceback" not in capfd.readouterr().err


def test_no_descriptor_is_left_for_a_connection(classifier: Path, transport: str, capfd: pytest.CaptureFixture[str]) -> None:
    import resource

    with served(classifier, transport) as server:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as client:
            client.settimeout(PATIENCE_SECONDS)
            free = os.dup(client.fileno())  # the lowest that is
            os.close(free)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
                client.connect(("127.0.0.1", server.port))
                client.sendall(head(first=GET))
                wait_for(lambda: "no more connections for a while" in capfd.readouterr().err)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            assert status(client.recv(1000)) == 200
    assert "Traceback" not in capfd.readouterr().err


def test_connections_are_as_many_as_there_are_descriptors_for() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = len(os.listdir("/dev/fd"))  # noqa: PTH208
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (held + REFUSED + OTHERS + 10, before[1]))
        assert 5 <= affordable(256) <= 12
        assert affordable(3) == 3
        resource.setrlimit(resource.RLIMIT_NOFILE, (held + 20, before[1]))
        assert affordable(256) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert affordable(256) == 256


@pytest.mark.parametrize("port", [-1, 65_536, 10**20])
def test_ports_that_are_none(port: int) -> None:
    with pytest.raises(BadInput, match=f"no port {port}") as fault:
        listen("127.0.0.1", port)
    assert fault.value.where == "--port"


def test_a_port_that_is_not_for_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(NotPossibleHere, match="may not listen") as fault:
        listen("127.0.0.1", 80)
    assert "1024" in (fault.value.fix or "")
