"""Every process that edgekit starts: none outlives the process that started it, however that one ends, kill -9 included.

A child holds the reading end of a pipe whose writing end its parent alone has. When the parent ends, the system closes that, and on Linux the
kernel then kills the child and what it started (F_SETSIG of fcntl(2)), whatever code runs there and whoever holds its interpreter. It is not
the death signal of prctl(2), which comes when the *thread* ends that started the child. On other systems a thread waits for the end of the
pipe in edgekit's own modules; other programs have their time limits there.

`python -m edgekit.runtime.children MODULE ARGUMENT…` is how a child runs a module of edgekit: it looks whether its parent is there at all.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import IO

from edgekit.runtime.forks import at_exit_here
from edgekit.runtime.own_modules import own_modules

__all__ = ["ENDS_WITH", "Ended", "end", "end_with_parent", "finish", "start", "start_module"]

ENDS_WITH = "EDGEKIT_ENDS_WITH"
"""Variable of a child's environment: the number of its end of the pipe. The agent on a device sets it for the runner too."""
ENTRY = "edgekit.runtime.children"
"""This module, whatever name it runs under."""

_ends: set[int] = set()
"""This process's ends of its children's pipes."""


@dataclass(frozen=True)
class Ended:
    """A child that has ended."""

    code: int
    """Its exit code, or -n after signal n."""
    output: bytes
    errors: bytes
    """What it wrote, of the streams that were asked for."""


def start(
    command: list[str], *, stdin: int | IO[bytes] = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL,
    stderr: int | None = subprocess.DEVNULL, environment: Mapping[str, str] | None = None, buffer: int = -1, pass_on: Sequence[int] = (),
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start `command` in a session of its own, which Ctrl-C does not reach. It is killed when this process ends, or holds the result no more.

    `environment`: what it has beside, or instead of, this process's variables; `stderr`: None for this process's own; `pass_on`: further files of
    this process that it has under their numbers.

    Raises:
        OSError: there is no such program, or none can be started.
    """
    held, mine = os.pipe()
    try:
        process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=buffer, pass_fds=(held, *pass_on), start_new_session=True,
            env={**os.environ, **(environment or {}), ENDS_WITH: str(held)},
        )  # fmt: skip
        _ends.add(mine)
        at_exit_here(process, _let_go, mine)
        _tie(held, process.pid)
    except BaseException:
        if mine not in _ends:
            os.close(mine)
        raise
    finally:
        os.close(held)
    return process


def start_module(
    name: str, *arguments: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL, stderr: int = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """`start` for edgekit's own module `name`, which is found where this one lies."""
    command = [sys.executable, "-m", ENTRY, name, *arguments]
    return start(command, stdin=stdin, stdout=stdout, stderr=stderr, environment={**(environment or {}), **own_modules()})


def finish(process: subprocess.Popen[bytes], seconds: float) -> Ended:
    """Wait for the end of a child that was started; whatever ends the wait ends it, and all that it started.

    Raises:
        subprocess.TimeoutExpired: it took more than `seconds`.
    """
    with process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except BaseException:
            end(process)
            raise
    return Ended(process.returncode, output or b"", errors or b"")


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a child that was started, if it has not ended, and what it started; its pipes are closed."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with suppress(OSError):
            if pipe is not None:
                pipe.close()


def end_with_parent() -> None:
    """In a child: see to it that this process ends with the one that started it, if that one asked for it. Returns only where it is there."""
    try:
        held = int(os.environ.pop(ENDS_WITH))
        if not stat.S_ISFIFO(os.fstat(held).st_mode):
            return
        if not _tie(held, os.getpid()):
            Thread(target=_wait, args=(held,), daemon=True).start()
        gone, _, _ = select.select([held], [], [], 0)
    except (KeyError, ValueError, OverflowError, OSError):  # nobody did, or not edgekit
        return
    if gone:
        os._exit(1)


def _tie(held: int, process: int) -> bool:
    """Have the kernel kill the group of `process` once the other end of the pipe `held` is closed; whether it can."""
    try:
        fcntl.fcntl(held, fcntl.F_SETOWN, -process)
        fcntl.fcntl(held, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(held, fcntl.F_SETFL, fcntl.fcntl(held, fcntl.F_GETFL) | os.O_ASYNC)
    except (AttributeError, OSError):  # F_SETSIG is Linux's own
        return False
    return True


def _wait(held: int) -> None:
    if not os.read(held, 1):
        os.kill(os.getpid(), signal.SIGKILL)


def _let_go(mine: int) -> None:
    _ends.discard(mine)
    os.close(mine)


def _leave_alone() -> None:
    """In a forked child: what the parent started is the parent's, and ends with it alone."""
    while _ends:
        with suppress(OSError):
            os.close(_ends.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_alone)

if __name__ == "__main__":
    import runpy

    end_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
