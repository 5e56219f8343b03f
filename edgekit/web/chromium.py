"""Chromium without a window, driven over a pipe by its DevTools protocol, and a server of static files for its pages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from select import select
from threading import Thread
from time import monotonic
from typing import Any

from edgekit.errors import CheckFailed, NotPossibleHere
from edgekit.host import CHROMIUM, engine_program
from edgekit.runtime.children import end, start

__all__ = ["Browser", "Tab", "browser", "find_chromium", "served"]

FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--disable-extensions", "--disable-gpu", "--mute-audio", "--disable-dev-shm-usage",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
)  # fmt: skip
MOVE = """
import os, sys
ends = [os.dup(os.dup(os.dup(int(number)))) for number in sys.argv[1:3]]
kept = os.dup(int(os.environ["EDGEKIT_ENDS_WITH"]))
os.set_inheritable(kept, True)
for end, place in zip(ends, (3, 4)):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads from file 3 and writes to 4; what ends it with its parent stays open, whatever its number was."""
PATIENCE = 120.0
"""Seconds that an answer may take."""


def find_chromium() -> str:
    """The program.

    Raises:
        NotPossibleHere: there is none.
    """
    found = engine_program(CHROMIUM)
    if found is None:
        raise NotPossibleHere("no Chromium here", fix="install it (Debian: apt-get install chromium)")
    return found


@dataclass
class Browser:
    """A running Chromium."""

    process: subprocess.Popen[bytes]
    write: int
    read: int
    """Ends of its pipes."""
    held: bytes = b""
    last: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def send(self, method: str, session: str | None = None, *, seconds: float = PATIENCE, **parameters: Any) -> dict[str, Any]:
        """The result of a method of the protocol.

        Raises:
            CheckFailed: it says that it failed, ends, or says nothing.
        """
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self.write, json.dumps(message).encode() + b"\0")
        until = monotonic() + seconds
        while True:
            found = self._next(until)
            if found.get("id") == self.last:
                if "error" in found:
                    raise CheckFailed(f"Chromium refuses {method}: {found['error'].get('message')}")
                result: dict[str, Any] = found["result"]
                return result
            if "method" in found:
                self.events.append(found)

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self.held:
            if not select([self.read], [], [], max(0.0, until - monotonic()))[0]:
                raise CheckFailed("Chromium does not answer")
            block = os.read(self.read, 1 << 16)
            if not block:
                raise CheckFailed("Chromium has ended")
            self.held += block
        message, _, self.held = self.held.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def tab(self, url: str = "about:blank") -> Tab:
        """A new page at `url`."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.send(f"{domain}.enable")
        if url != "about:blank":
            tab.go(url)
        return tab


@dataclass(frozen=True)
class Tab:
    """One page."""

    browser: Browser
    session: str

    def send(self, method: str, *, seconds: float = PATIENCE, **parameters: Any) -> dict[str, Any]:
        """The result of a method for this page."""
        return self.browser.send(method, self.session, seconds=seconds, **parameters)

    def go(self, url: str) -> None:
        """Load `url`."""
        failed = self.send("Page.navigate", url=url).get("errorText")
        if failed:
            raise CheckFailed(f"{url}: {failed}")
        self.run("new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', () => done()))")

    def run(self, expression: str, *, seconds: float = PATIENCE) -> Any:
        """The value of an expression of JavaScript, awaited where it is a promise.

        Raises:
            CheckFailed: it throws.
        """
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, seconds=seconds)
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise CheckFailed(f"the page fails: {details.get('exception', {}).get('description') or details.get('text')}")
        return found["result"].get("value")

    def wait(self, condition: str, *, seconds: float = PATIENCE) -> None:
        """Wait until an expression is true."""
        self.run(
            f"new Promise((done) => {{ const look = () => ({condition}) ? done() : setTimeout(look, 20); look(); }})",
            seconds=seconds,
        )

    def picture(self, path: Path, width: int, height: int, *, dark: bool = False) -> None:
        """A picture of the whole page at a width."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.send(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        )
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(b64decode(data))


@contextmanager
def browser(*flags: str) -> Iterator[Browser]:
    """A Chromium with a new profile, which ends with the block.

    Raises:
        NotPossibleHere: there is none, or it does not start.
    """
    program = find_chromium()
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    move = [sys.executable, "-c", MOVE, str(to_read), str(from_write)]
    with tempfile.TemporaryDirectory(prefix="edgekit-chromium-", ignore_cleanup_errors=True) as profile:
        command = [*move, program, *FLAGS, *sandbox, *flags, f"--user-data-dir={profile}", "about:blank"]
        try:
            process = start(command, pass_on=(to_read, from_write))
        finally:
            os.close(to_read)
            os.close(from_write)
        try:
            made = Browser(process, to_write, from_read)
            try:
                made.send("Browser.getVersion", seconds=60)
            except (CheckFailed, BrokenPipeError) as fault:
                raise NotPossibleHere(
                    f"{program} does not start: {fault}", fix="see whether it starts by itself with --headless"
                ) from None
            yield made
        finally:
            end(process)
            os.close(to_write)
            os.close(from_read)


class _Files(SimpleHTTPRequestHandler):
    """Files of a folder with further headers, and nothing in the log."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm"}  # noqa: RUF012

    def __init__(self, *arguments: Any, headers: Mapping[str, str], **more: Any) -> None:
        self.more = headers
        super().__init__(*arguments, **more)

    def end_headers(self) -> None:
        """With those that were asked for."""
        for name, value in self.more.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    """Says nothing of a page that went away before it had its file."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Any other fault is told."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def served(folder: Path, headers: Mapping[str, str] | None = None) -> Iterator[str]:
    """The URL at which `folder` is served on this machine, with `headers`, until the block ends."""
    server = _Server(("127.0.0.1", 0), partial(_Files, directory=str(folder), headers=headers or {}))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
