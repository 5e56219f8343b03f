"""`serve`: open the port, verify and load the bundle, answer, and on SIGTERM or Ctrl-C let requests in progress finish."""

from __future__ import annotations

import asyncio
import errno
import gc
import ipaddress
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.runtime.forks import leave
from edgekit.runtime.generate.chat import JINJA, lacking
from edgekit.runtime.generate.flags import SPECULATE, Speculate
from edgekit.runtime.generate.tools import Tools
from edgekit.runtime.model import Model, load
from edgekit.runtime.serve.app import App
from edgekit.runtime.serve.authority import canonical
from edgekit.runtime.serve.last_resort import last_resort
from edgekit.runtime.serve.limits import Limits
from edgekit.runtime.threads import Threads
from edgekit.runtime.tokenise import PARALLELISM

__all__ = ["Running", "Transport", "listen", "serve_bundle", "unanswered", "uncalled", "verified"]

Transport = Callable[[App, socket.socket, asyncio.Event], Awaitable[int]]
"""Serves an app on a listening socket until told to stop; returns how many requests it aborted."""
POLL = 0.1
"""Seconds between two checks for a signal."""
GRACE = 1.0
"""Seconds after those for shutting down, for the process to end by itself before it is killed."""
ANY_TOOL = Tools(({"type": "function", "function": {"name": "a", "description": "", "parameters": {}}},), "auto", parallel=True)
BACKLOG = 1024
"""Connections that the system keeps while the server is busy."""


def serve_bundle(
    path: Path, transport: Transport, *, host: str = "127.0.0.1", port: int = 8000, limits: Limits | None = None, prefix_cache: bool = True,
    any_dimensions: bool = False, threads: Threads = None, speculate: Speculate = SPECULATE[0],
    say: Callable[[str], None] = lambda text: print(f"edgekit serve: {text}", file=sys.stderr, flush=True),
) -> int:  # fmt: skip
    """Serve the bundle at `path` until SIGTERM or Ctrl-C; call it in the main thread. Returns how many requests were aborted.

    The port is open at once; requests for the model are refused with 503 until its golden inputs have passed.

    Raises:
        BadInput, CheckFailed, NotPossibleHere: the port is not available, or the bundle is not sound or not for this machine.
    """
    limits = limits or Limits()
    os.environ.setdefault(PARALLELISM, "false")  # one long prompt is then read beside all else, without threads of its own
    listener = listen(host, port)
    app = App(
        limits,
        local=_loopback(listener),
        names={canonical(host), canonical(listener.getsockname()[0])},
        any_dimensions=any_dimensions,
    )
    signals: list[int] = []
    """Signals received. The handlers do no more than append: they interrupt the main thread anywhere."""
    before = {one: signal.signal(one, lambda number, frame: signals.append(number)) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        with last_resort(limits.drain_seconds + GRACE):
            loads = partial(verified, path, prefix_cache=prefix_cache, threads=threads, speculate=speculate)
            return _serve(app, listener, transport, loads, path, signals, say)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _serve(
    app: App, listener: socket.socket, transport: Transport, loads: Callable[[], tuple[Model, int]], path: Path, signals: list[int],
    say: Callable[[str], None],
) -> int:  # fmt: skip
    """Serve until there are `signals`, or the model answers no more."""
    running, loading = Running(app, listener, transport), _Loading(loads)
    running.start()
    fault: str | None = None
    try:
        say(f"{_url(listener)} is open; checking {path}")
        if not app.local:
            say("no password, no encryption: whoever reaches this address is answered; put a proxy before it")
        while not (signals or loading.over.wait(POLL)):
            pass
        if not signals:
            model, golden = loading.result()
            app.begin(model)
            gc.collect()
            gc.freeze()  # what stays for good is not looked through again, which takes milliseconds within some request
            if (missing := unanswered(model)) is not None:
                say(missing)
            if (missing := uncalled(model)) is not None:
                say(missing)
            if app.one_by_one is not None:
                say(f"requests are answered one after another: {app.one_by_one}")
            say(f"ready: {model.bundle.manifest.name}, {golden} golden inputs replayed; Ctrl-C ends")
        while not (signals or fault or running.over.wait(POLL)):
            fault = app.worker.broken
        if fault is None:
            say("shutting down: finishing requests in progress; a second signal ends it at once")
        else:
            say(f"out of order, so it ends: {fault}")
            app.worker.give_up()
    finally:
        until = time.monotonic() + app.limits.drain_seconds
        cut = running.end(hurry=lambda: len(signals) > 1)
        while not (len(signals) > 1 or time.monotonic() > until or loading.over.wait(POLL)):
            pass  # ONNX Runtime must not be at work when the process ends
        if cut:
            say(f"{cut} requests were aborted")
        if not (running.idle and loading.over.is_set()):
            say("the model is still at work, and is not waited for")
            leave(1)
    if fault is not None:
        raise CheckFailed(fault, where=str(path), fix="start it again; if it was one request's fault, report it")
    return cut


def unanswered(model: Model) -> str | None:
    """Which route of `model` cannot be answered on this machine, with what to do; None where all can."""
    if model.language is None or model.language.template is None or (what := lacking()) is None:
        return None
    return f"{what}: /v1/chat/completions answers 501 until you pip install '{JINJA}' and start again"


def uncalled(model: Model) -> str | None:
    """Why answers of `model` may not call tools where they like, with what to do; None where they may, and where the template reads no tools."""
    language = model.language
    if language is None or language.template is None or "tools" not in language.template.source or lacking() is not None:
        return None
    try:
        language.calls(ANY_TOOL)
    except (BadInput, NotPossibleHere) as fault:
        return f"requests with tools are refused where tool_choice is auto: {fault.what} (fix: {fault.fix})"
    return None


def verified(
    path: Path, *, prefix_cache: bool = True, threads: Threads = None, speculate: Speculate = SPECULATE[0]
) -> tuple[Model, int]:
    """The bundle at `path`, loaded, and how many golden inputs it answered as it must.

    Raises:
        BadInput, CheckFailed, NotPossibleHere: as `verify`.
    """
    golden = verify(path)["golden"]
    return load(path, prefix_cache=prefix_cache, threads=threads, speculate=speculate), golden


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any that is free.

    Raises:
        BadInput: no address of this machine.
        NotPossibleHere: the port is taken, or not for this user.
    """
    if not 0 <= port <= 65535:
        raise BadInput(f"no port {port}", where="--port", fix="give one from 1 to 65535, or 0 for any that is free")
    listener: socket.socket | None = None
    try:
        # proto: asyncio switches Nagle's algorithm off only where it is named, and with it an answer in two writes takes 40 ms.
        kinds = {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP, "flags": socket.AI_PASSIVE}
        family, kind, proto, _, address = socket.getaddrinfo(host, port, **kinds)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        return listener
    except (socket.gaierror, UnicodeError, OverflowError) as fault:
        raise BadInput(
            f"no address: {fault}", where=f"--host {host}", fix="give 127.0.0.1, or an address of this machine"
        ) from None
    except OSError as fault:
        if listener is not None:
            listener.close()
        where = f"{host}:{port}"
        if fault.errno in (errno.EACCES, errno.EPERM):
            fix = "give another --port: those below 1024 are the administrator's"
            raise NotPossibleHere("this user may not listen there", where=where, fix=fix) from None
        if fault.errno == errno.EADDRINUSE:
            raise NotPossibleHere(
                "the port is taken", where=where, fix="give another --port, or 0 for any", see="the-port-is-taken"
            ) from None
        raise NotPossibleHere(f"cannot listen: {fault.strerror}", where=where, fix="give another --host or --port") from None


class Running:
    """A transport in a thread of its own, so that the main thread is free for signals and for loading the model."""

    def __init__(self, app: App, listener: socket.socket, transport: Transport) -> None:
        self.app = app
        self.loop: asyncio.AbstractEventLoop | None = None
        """The transport's, from `start` on."""
        self.over = threading.Event()
        """Set when the transport has ended, by itself or because it was told."""
        self.idle = False
        """Whether the model has nothing to do any more, after the end."""
        self._thread = threading.Thread(target=self._run, args=(listener, transport), name="http", daemon=True)
        self._started = threading.Event()
        self._stop: asyncio.Event | None = None
        self._cut = 0
        self._fault: BaseException | None = None

    def start(self) -> None:
        """Serve; returns when the loop runs."""
        self._thread.start()
        self._started.wait()

    def end(self, hurry: Callable[[], bool] = lambda: False) -> int:
        """Drain, and return how many requests were aborted: those that took too long, and all that are left once `hurry` is true.

        Raises:
            BaseException: the transport's own error.
        """
        self.app.draining = True
        until = time.monotonic() + self.app.limits.drain_seconds
        if self.loop is not None and self._stop is not None and not self.over.is_set():
            self.loop.call_soon_threadsafe(self._stop.set)
            while not self.over.wait(POLL):
                if hurry() or time.monotonic() > until:
                    self._cut = self.app.metrics.in_flight
                    break
        self.idle = self.app.worker.close(min(2.0, max(POLL, until - time.monotonic())))
        if self._fault is not None:
            raise self._fault
        return self._cut

    def _run(self, listener: socket.socket, transport: Transport) -> None:
        async def main() -> int:
            self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._started.set()
            return await transport(self.app, listener, self._stop)

        try:
            self._cut = asyncio.run(main())
        except BaseException as fault:
            self._fault = fault
        finally:
            listener.close()
            self.over.set()
            self._started.set()


class _Loading:
    """A bundle that is verified and loaded in a thread of its own."""

    def __init__(self, loads: Callable[[], tuple[Model, int]]) -> None:
        self.over = threading.Event()
        self._found: tuple[Model, int] | BaseException
        threading.Thread(target=self._run, args=(loads,), name="loading", daemon=True).start()

    def result(self) -> tuple[Model, int]:
        """What `verified` gave, once it is `over`.

        Raises:
            BaseException: what `verified` raised.
        """
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found

    def _run(self, loads: Callable[[], tuple[Model, int]]) -> None:
        try:
            self._found = loads()
        except BaseException as fault:  # raised again by its owner
            self._found = fault
        finally:
            self.over.set()


def _loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
