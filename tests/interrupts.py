"""Programs that tests interrupt as a person does."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["hear_ctrl_c", "interruptible"]


def hear_ctrl_c() -> None:
    """For `preexec_fn`: Ctrl-C is one, even where a shell started the tests in the background, with it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def interruptible(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The program of `command`, of texts, which hears SIGINT and does not outlive the test; `options` as for Popen."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c, **options) as process:
        try:
            yield process
        finally:
            process.kill()
