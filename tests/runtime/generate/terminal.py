"""A program at a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

from tests.interrupts import hear_ctrl_c
from tests.waiting import PATIENCE_SECONDS

__all__ = ["Terminal"]


def _at_a_terminal() -> None:
    """In the child: its terminal sends it signals, and Ctrl-C is one."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    hear_ctrl_c()


class Terminal:
    """The runner at a terminal of its own."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.side, other = pty.openpty()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"}
        self.process = subprocess.Popen(
            [sys.executable, *arguments], stdin=other, stdout=other, stderr=other, cwd=folder, env=environment, start_new_session=True,
            preexec_fn=_at_a_terminal,
        )  # fmt: skip
        os.close(other)
        self.seen = ""

    def wait_for(self, text: str, key: str = "") -> str:
        """What came up to `text`, which is taken away; `key` is pressed every 5 s until then."""
        begun = time.monotonic()
        until, pressed = begun + PATIENCE_SECONDS, begun
        while text not in self.seen:
            now = time.monotonic()
            if now > until:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"no {text!r} in {self.seen!r}")
            if key and now > pressed + 5:
                self.say(key)
                pressed = now
            if select.select([self.side], [], [], 0.2)[0]:
                self.seen += os.read(self.side, 4096).decode(errors="replace")
        before, _, self.seen = self.seen.partition(text)
        return before

    def say(self, text: str) -> None:
        os.write(self.side, text.encode())

    def take_back(self) -> None:
        """Ctrl-C on a half-typed line, up to the next prompt.

        CPython looks for one where it interrupts the wait for a key: one that came just before is seen at the next, as people press it again.
        """
        self.say("\x03")
        self.wait_for("> ", key="\x03")

    def leave(self, keys: str) -> int:
        """Type `keys`, Ctrl-C again each second, until the process ends; its exit code.

        A Ctrl-C between the prompt and CPython's wait for a key is seen at the next key alone: a person presses it again.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        self.say(keys)
        try:
            while time.monotonic() < until:
                with suppress(subprocess.TimeoutExpired):
                    return self.process.wait(timeout=1)
                if keys == "\x03":
                    self.say(keys)
            raise AssertionError(f"still running: {self.seen!r}")
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.side)
