"""The end of a server that native code holds: while it keeps the interpreter, no signal handler of Python runs, and no thread."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from edgekit.runtime.children import start

__all__ = ["last_resort"]

WATCH = """
import os, select, signal, sys, time
for one in (signal.SIGTERM, signal.SIGINT):
    signal.signal(one, signal.SIG_IGN)
server, seconds = int(sys.argv[1]), float(sys.argv[2])
until = None
while until is None or time.monotonic() < until:
    ready, _, _ = select.select([0], [], [], None if until is None else max(0.0, until - time.monotonic()))
    if ready:
        told = os.read(0, 1)
        if not told:
            sys.exit()
        if told[0] in (signal.SIGTERM, signal.SIGINT):
            now = time.monotonic()
            until = now + seconds if until is None else min(until, now + 2.0)
if os.getppid() == server:
    os.write(2, b"edgekit serve: the model does not return; the server is killed\\n")
    os.kill(server, signal.SIGKILL)
"""
"""Program of a process of its own: told of each signal by Python's C handler, through a pipe, whoever holds the interpreter. Whoever ends the
server's whole group, as systemd does, signals this process too, which goes on until the pipe is closed."""


@contextmanager
def last_resort(seconds: float) -> Iterator[None]:
    """Within the block, in the main thread: SIGTERM and Ctrl-C end this process after `seconds`, a second one after 2, whatever it does."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    command = [sys.executable, "-I", "-S", "-c", WATCH, str(os.getpid()), str(seconds)]
    try:
        watch = start(command, stdin=heard, stderr=None)
    except BaseException:
        os.close(heard)
        os.close(told)
        raise
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(told)
        os.close(heard)  # not before: with nobody left to read, each signal would be a traceback
        watch.wait()
