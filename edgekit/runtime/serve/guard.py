"""Which requests are answered at all, whatever they hold, and how a refusal is worded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from edgekit.runtime.serve.inference import HEADER
from edgekit.runtime.serve.message import Refusal, Request, Response, json_response

__all__ = ["check_request", "cut_off", "refused"]

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def check_request(request: Request, methods: Collection[str], *, local: bool) -> None:
    """Refuse what cannot be meant for here; `methods`: those of the address; `local`: only names of loopback are served.

    A web page can make its reader's browser ask servers on loopback, by a name that it makes lead there or from its own site; the
    checks of Host, Origin and Content-Type keep it out.

    Raises:
        Refusal: 405, 403 or 415.
    """
    if request.method not in methods:
        what, fix = f"{request.method[:20]!r} is not what this address takes", f"use {' or '.join(methods)}"
        raise Refusal(405, what, where=request.path[:100], fix=fix, headers={"allow": ", ".join(methods)})
    host = request.headers.get("host", "")
    if local and _name(host) not in LOOPBACK:
        raise Refusal(403, f"a server on loopback does not answer to {host[:60]!r}", where="Host", fix="ask localhost")
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise Refusal(403, "web pages of other sites are not answered", where="Origin", fix="put a proxy before the server")
    if request.method == "POST":
        _check_body(request)


def refused(path: str, refusal: Refusal) -> Response:
    """The response to a refused request, in the words of the protocol that `path` belongs to."""
    fault = refusal.fault
    if path.startswith("/v1/"):
        kind = "invalid_request_error" if refusal.status < 500 else "server_error"
        code = "model_not_found" if refusal.status == 404 else None
        document: dict[str, Any] = {"error": {"message": fault.text(), "type": kind, "param": fault.where, "code": code}}
    else:  # Triton's clients show `error` alone, so it is the whole message
        document = {
            "error": fault.text(),
            "what": fault.what,
            "where": fault.where,
            "fix": fault.fix,
            "faults": [*fault.faults],
        }
    return replace(json_response(document, refusal.status, dict(refusal.headers)), close=refusal.close)


def cut_off(path: str) -> Response:
    """The response to a request that the server, told to end, cannot wait for."""
    what = "the server ended before the answer was made"
    return refused(path, Refusal(503, what, fix="ask another one", headers={"retry-after": "5"}, close=True))


def _check_body(request: Request) -> None:
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise Refusal(415, f"{coding[:40]!r} is not read", where="Content-Encoding", fix="send the body uncompressed")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # Triton's Python client sends no type at all. No web page gets that far: browsers name their page in Origin.
    if kind not in ("", "application/json") and not (HEADER in request.headers and kind == "application/octet-stream"):
        raise Refusal(415, f"{kind[:60]!r} is not read", where="Content-Type", fix="send application/json")


def _name(host: str) -> str | None:
    """The host's name without its port; None where it is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
