"""A child process that answers lines of JSON, for what must not be done in this one: started when it is first needed, ended where it hangs."""

from __future__ import annotations

import json
import os
import subprocess
from threading import Lock, Timer

from edgekit.runtime.children import end, start_module
from edgekit.runtime.errors import NotPossibleHere
from edgekit.runtime.forks import at_exit_here, renew_in_children
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["Child"]

SECONDS_TO_START = 60.0


class Child:
    """The process of a module whose `main` answers a line with a line; its first line out says that it is ready, or {"fault"}: what it lacks."""

    def __init__(self, module: str, work: str, fix: str, longest: int) -> None:
        """`module` is run by `python -m`; `work` names for messages what it is for, `fix` what to do where it does not start. `longest`: bytes of
        a reply at most.
        """
        self.module = module
        self.work = work
        self.fix = fix
        self.longest = longest
        self.process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a process of its own answers; the parent's goes on, and hears and says nothing here."""
        self._lock = Lock()
        process, self.process = self.process, None
        for pipe in (process.stdin, process.stdout) if process is not None else ():
            if pipe is not None and not pipe.closed:  # closing it would write out what the parent has left in its buffer
                nothing = os.open(os.devnull, os.O_RDWR)
                os.dup2(nothing, pipe.fileno())
                os.close(nothing)

    def ask(self, request: JsonObject, seconds: float) -> dict[str, str] | None:
        """The reply to `request`; None where it did not come within `seconds`, or the process died: the next request has a new one.

        Raises:
            NotPossibleHere: it does not start.
        """
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            process, self.process = self.process, None
            if process is None or process.poll() is not None:
                process = self._start()
            reply = _asked(process, line, seconds, self.longest)
            if reply is not None:
                self.process = process  # only now: after Ctrl-C, a late reply must not be taken for the next one
            return reply

    def _start(self) -> subprocess.Popen[bytes]:
        """A process that is ready."""
        process = start_module(self.module, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        reply = _asked(process, b"", SECONDS_TO_START, self.longest)
        if reply is None or "fault" in reply:
            end(process)
            why = (reply or {}).get("fault", "no answer")
            raise NotPossibleHere(f"the process for {self.work} did not start: {why}", fix=self.fix)
        at_exit_here(self, end, process)
        return process


def _asked(process: subprocess.Popen[bytes], request: bytes, seconds: float, longest: int) -> dict[str, str] | None:
    """The process' next line after `request`; None, and its end, where it dies, replies something else than JSON, or takes more than `seconds`."""
    assert process.stdin is not None and process.stdout is not None, "both are pipes"
    timer = Timer(seconds, process.kill)
    timer.start()
    reply: dict[str, str] | None = None
    try:
        process.stdin.write(request)
        process.stdin.flush()
        reply = json.loads(process.stdout.readline(longest))
    except (OSError, ValueError):
        pass
    finally:  # after Ctrl-C too
        timer.cancel()
        if reply is None:
            end(process)
    return reply
