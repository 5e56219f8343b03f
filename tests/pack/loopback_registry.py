"""A container registry of the tests' own, on loopback: what a client needs of the OCI distribution specification 1.1 to push and pull.

It is as strict as the real ones: a blob must have the digest that it is stored under, and a manifest is taken only when every blob
that it names is there with the size that it says.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

DIGEST = r"sha256:[0-9a-f]{64}"


@dataclass
class Registry:
    """What clients have pushed."""

    port: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """By digest and by tag: media type and bytes."""
    uploads: dict[str, bytes] = field(default_factory=dict)

    def address(self, name: str, tag: str) -> str:
        """As clients are given it, without a scheme."""
        return f"127.0.0.1:{self.port}/{name}:{tag}"

    def fault(self, kind: str, data: bytes) -> str | None:
        """Why this manifest is not taken; None where it is."""
        document = json.loads(data)
        if document.get("mediaType", kind) != kind:
            return f"sent as {kind}, calls itself {document['mediaType']}"
        for one in [document["config"], *document["layers"]]:
            if len(self.blobs.get(one["digest"], b"")) != one["size"]:
                return f"{one['digest']} is not here with {one['size']} bytes"
        return None


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextmanager
def started() -> Iterator[Registry]:
    """A registry that answers until the end of the context."""
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Nothing."""

        def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def refuse(self, status: int, code: str, message: str = "") -> None:
            error = {"errors": [{"code": code, "message": message}]}
            self.answer(status, json.dumps(error).encode(), Content_Type="application/json")

        def body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def do_GET(self) -> None:
            if self.path == "/v2/":
                return self.answer(200, b"{}", Content_Type="application/json")
            if blob := re.fullmatch(rf"/v2/[a-z0-9/_-]+/blobs/({DIGEST})", self.path):
                if blob[1] not in registry.blobs:
                    return self.refuse(404, "BLOB_UNKNOWN")
                return self.answer(
                    200, registry.blobs[blob[1]], Docker_Content_Digest=blob[1], Content_Type="application/octet-stream"
                )
            if manifest := re.fullmatch(r"/v2/[a-z0-9/_-]+/manifests/([A-Za-z0-9_.:-]+)", self.path):
                if manifest[1] not in registry.manifests:
                    return self.refuse(404, "MANIFEST_UNKNOWN")
                kind, data = registry.manifests[manifest[1]]
                return self.answer(200, data, Docker_Content_Digest=digest_of(data), Content_Type=kind)
            return self.refuse(404, "UNSUPPORTED")

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.body()
            place = f"{self.path.rstrip('/')}/{len(registry.uploads)}"
            registry.uploads[place] = b""
            self.answer(202, Location=place, Range="0-0")

        def do_PATCH(self) -> None:
            registry.uploads[self.path] += self.body()
            self.answer(202, Location=self.path, Range=f"0-{len(registry.uploads[self.path]) - 1}")

        def do_PUT(self) -> None:
            asked, data = urlsplit(self.path), self.body()
            if asked.path in registry.uploads:
                whole, digest = registry.uploads.pop(asked.path) + data, parse_qs(asked.query)["digest"][0]
                registry.uploads[asked.path] = b""  # its number is not given out again
                if digest_of(whole) != digest:
                    return self.refuse(400, "DIGEST_INVALID")
                registry.blobs[digest] = whole
                return self.answer(201, Location=asked.path, Docker_Content_Digest=digest)
            kind = self.headers["Content-Type"]
            if fault := registry.fault(kind, data):
                return self.refuse(400, "MANIFEST_INVALID", fault)
            registry.manifests[asked.path.rpartition("/")[2]] = registry.manifests[digest_of(data)] = (kind, data)
            return self.answer(201, Location=asked.path, Docker_Content_Digest=digest_of(data))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        registry.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
