"""One ssh process and the exchange with the agent behind it: requests, raw bytes, marked answers, and a timeout for each."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.resources import files
from time import monotonic
from typing import Any

from edgekit.device.agent import MARK
from edgekit.device.faults import ended
from edgekit.errors import NotPossibleHere
from edgekit.runtime.children import start
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["Link", "Stopped"]

MOST_ANSWER = 64_000_000
MOST_ERRORS = 64_000
STALL_SECONDS = 60.0
"""A transfer of which nothing gets through for so long is given up; a slow one continues."""
TICK = 0.1


class Stopped(Exception):
    """The run was interrupted here (Ctrl-C)."""


class Link:
    """A running ssh with the agent at its other end. Use as a context: leaving it ends ssh, and with it all on the device."""

    def __init__(self, command: list[str], where: str, stop: threading.Event) -> None:
        self.where = where
        self.stop = stop
        self.in_step = False
        """Every request so far was sent whole and answered: another one will be taken as such."""
        self.output, self.errors = bytearray(), bytearray()
        self.process = start(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            buffer=0,
            environment={"LC_ALL": "C"},
        )
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.pipes = (self.process.stdin, self.process.stdout, self.process.stderr)
        for pipe in self.pipes:
            os.set_blocking(pipe.fileno(), False)
        program = files("edgekit.device").joinpath("agent.py").read_bytes()
        self.greeting: bytes = b"%d\n%b" % (len(program), program)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *fault: object) -> None:
        with suppress(OSError):
            self.pipes[0].close()  # the agent's input ends: it ends what it started
        try:
            self.process.wait(2.0)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(2.0)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        for pipe in self.pipes[1:]:
            pipe.close()

    def ask(
        self,
        step: str,
        request: JsonObject,
        payload: Iterable[bytes] = (),
        *,
        seconds: float,
        sent: Callable[[int], None] = lambda count: None,
    ) -> dict[str, Any]:
        """Send `request` and then `payload`; the agent's answer. `sent` hears how many bytes of the payload went.

        With a payload the clock of `seconds` runs from the last byte sent, and STALL_SECONDS from one byte to the next.

        Raises:
            EdgekitError: the link or the agent ended, or was too slow, as a message.
            Stopped: the run was interrupted here.
        """
        pending = memoryview(self.greeting + json.dumps(request).encode("ascii") + b"\n")
        self.greeting, self.in_step = b"", False
        source, uncounted, count, whole = iter(payload), len(pending), 0, False
        until = monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            for pipe in self.pipes:
                ready.register(pipe, selectors.EVENT_WRITE if pipe is self.pipes[0] else selectors.EVENT_READ)
            while True:
                if self.stop.is_set():
                    raise Stopped
                if monotonic() > until:
                    raise self._late(step, sending=not whole)
                for key, _ in ready.select(TICK):
                    if key.fileobj is not self.pipes[0]:
                        answer = self._read(step, key.fd, ready)
                        if answer is not None:
                            self.in_step = not pending and next(source, None) is None
                            return answer
                        continue
                    if not pending:
                        pending = memoryview(next(source, b""))
                    if not pending:
                        whole = True
                        until = monotonic() + seconds
                        ready.unregister(self.pipes[0])
                        continue
                    try:
                        done = os.write(key.fd, pending)
                    except BlockingIOError:
                        continue
                    except BrokenPipeError:  # ssh has ended, or will; what it says is still to be read
                        ready.unregister(self.pipes[0])
                        continue
                    pending = pending[done:]
                    over = max(0, done - uncounted)
                    uncounted -= done - over
                    if over:
                        count += over
                        sent(count)
                        until = monotonic() + STALL_SECONDS

    def _read(self, step: str, descriptor: int, ready: selectors.BaseSelector) -> dict[str, Any] | None:
        """Take what is there; the agent's answer once its line is whole. The end of ssh's output is a fault."""
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return None
        if descriptor == self.pipes[2].fileno():
            self.errors += data
            del self.errors[:-MOST_ERRORS]
            if not data:
                ready.unregister(self.pipes[2])
            return None
        if not data:
            raise self._ended(step)
        self.output += data
        if len(self.output) > MOST_ANSWER:
            raise NotPossibleHere(
                "the device sends without end", where=f"{self.where}, {step}", fix="look what its shell prints"
            )
        while b"\n" in self.output:
            line, _, rest = self.output.partition(b"\n")
            self.output = rest
            if line.startswith(MARK):
                return self._answer(step, bytes(line[len(MARK) :]))
        return None

    def _answer(self, step: str, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise NotPossibleHere("the device's answer is no JSON object", where=f"{self.where}, {step}", fix="run it again")
        return found

    def _ended(self, step: str) -> Exception:
        """ssh ended where an answer was due: its code and last words in ours."""
        os.set_blocking(self.pipes[2].fileno(), True)
        try:
            code = self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            code = 255
        if self.process.poll() is not None:
            while data := os.read(self.pipes[2].fileno(), 1 << 16):
                self.errors += data
        return ended(self.where, step, code, self.errors.decode("utf-8", "replace"))

    def _late(self, step: str, *, sending: bool) -> NotPossibleHere:
        what = f"nothing got through for {STALL_SECONDS:.0f} s" if sending else "no answer in time"
        fix = "see that the device is up and the link good; the same command resumes where this one ended"
        return NotPossibleHere(what, where=f"{self.where}, {step}", fix=fix)
