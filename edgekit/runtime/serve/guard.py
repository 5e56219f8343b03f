"""Checks of every request before its route is called, and the responses of refused requests."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.serve.authority import is_local, parse_authority, same_origin
from edgekit.runtime.serve.inference import HEADER
from edgekit.runtime.serve.message import Refusal, Request, Response, json_response
from edgekit.runtime.serve.rerank import RERANK_V2

__all__ = ["check_request", "cut_off", "refused"]


def check_request(request: Request, methods: Collection[str], *, local: bool, names: Collection[str] = ()) -> None:
    """Refuse a wrong method, host, origin or content type.

    `methods`: those of the route. `local`: only loopback hosts are served, and `names`, under which the server was started.

    A web page can make its reader's browser send requests to servers on loopback, from its own site or by DNS rebinding; the
    checks of Host, Origin and Content-Type prevent it.

    Raises:
        Refusal: 405, 403 or 415.
    """
    if request.method not in methods:
        what, fix = f"{request.method[:20]!r} is not what this address takes", f"use {' or '.join(methods)}"
        raise Refusal(405, what, where=request.path[:100], fix=fix, headers={"allow": ", ".join(methods)})
    host = request.headers.get("host", "")
    if local and "host" in request.headers:  # HTTP/1.0 needs no Host, and browsers always send one
        asked = parse_authority(host)
        if asked is None or not is_local(asked.name, names):
            raise Refusal(403, f"a server on loopback does not answer to {host[:60]!r}", where="Host", fix="ask localhost")
    origin = request.headers.get("origin")
    if origin is not None and not same_origin(origin, host):
        raise Refusal(403, "web pages of other sites are not answered", where="Origin", fix="put a proxy before the server")
    if request.method == "POST":
        _check_body(request)


def refused(path: str, refusal: Refusal) -> Response:
    """The response to a refused request, in the error format of the protocol that `path` belongs to."""
    fault = refusal.fault
    if path.startswith("/v1/"):
        kind = "invalid_request_error" if refusal.status < 500 else "server_error"
        code = (
            "model_not_found" if refusal.status == 404 and (fault.where == "model" or path.startswith("/v1/models/")) else None
        )
        document: JsonObject = {"error": {"message": fault.text(), "type": kind, "param": fault.where, "code": code}}
    else:  # Triton's clients show `error` alone, and Cohere's `message`, so that they hold the whole of it
        document = {
            "message" if path == RERANK_V2 else "error": fault.text(),
            "what": fault.what,
            "where": fault.where,
            "fix": fault.fix,
            "faults": [*fault.faults],
        }
    return replace(json_response(document, refusal.status, dict(refusal.headers)), close=refusal.close)


def cut_off(path: str) -> Response:
    """The response to a request that was not done when the time to shut down was over."""
    what = "the server shut down before the answer was complete"
    return refused(path, Refusal(503, what, fix="send it to another server", headers={"retry-after": "5"}, close=True))


def _check_body(request: Request) -> None:
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise Refusal(415, f"{coding[:40]!r} is not read", where="Content-Encoding", fix="send the body uncompressed")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # Triton's Python client sends no type at all. Web pages were refused before, by their Origin.
    if kind not in ("", "application/json") and not (HEADER in request.headers and kind == "application/octet-stream"):
        raise Refusal(415, f"{kind[:60]!r} is not read", where="Content-Type", fix="send application/json")
