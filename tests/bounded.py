"""Commands over hostile files, run in a child whose memory and end are seen: none may hang, grow, or end in a traceback."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import PYTHONPATH
from tests.waiting import PATIENCE_SECONDS

__all__ = ["Ended", "bounded", "grows_in_line", "refused"]

MOST_MIB = 1024
ADDRESSES = 6 * 1024**3
"""Bytes of addresses that a child may have, so that the machine survives a test that fails; libraries reserve far more than they use."""


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int
    said: str
    """What it wrote to both streams."""
    peak_mib: float


def bounded(*arguments: str | Path, cwd: Path | None = None) -> Ended:
    """Run `python arguments…`; a child that has not ended by itself after a very long time is killed, with code -9."""
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [sys.executable, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=cwd,
            env={**os.environ, "PYTHONPATH": PYTHONPATH, "OMP_WAIT_POLICY": "PASSIVE"},
        )  # fmt: skip
        resource.prlimit(child.pid, resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        until, peak = time.monotonic() + PATIENCE_SECONDS, 0.0
        while child.poll() is None:
            # ru_maxrss would begin with this process's own
            found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{child.pid}/status").read_text())
            peak = max(peak, int(found[1]) / 1024 if found else 0.0)
            if time.monotonic() > until:
                child.kill()
            time.sleep(0.003)
        output.seek(0)
        return Ended(child.returncode, output.read().decode("utf-8", "replace"), peak)


def refused(*arguments: str | Path, cwd: Path | None = None) -> str:
    """What `python arguments…` said as it refused: exit code 1, 2 or 3, one message of bounded length, no traceback, within 1 GiB."""
    ended = bounded(*arguments, cwd=cwd)
    assert ended.code in {1, 2, 3}, ended
    assert "Traceback" not in ended.said, ended.said
    assert len(ended.said) < 60_000, ended.said[:2000]
    assert ended.peak_mib < MOST_MIB, ended.peak_mib
    return ended.said


def grows_in_line(work: Callable[[int], Callable[[], object]], small: int, times: int = 32) -> None:
    """Assert that `work` on `times` as much takes not much more than `times` as long, in this process's own seconds of CPU.

    `work` makes what is measured of a size. What grows with the square takes `times` as long again; the margin is a fourth of that.
    """

    def seconds(size: int) -> float:
        act = work(size)
        begun = time.process_time()
        act()
        return time.process_time() - begun

    least = max(min(seconds(small) for _ in range(3)), 1e-3)
    most = seconds(small * times)
    assert most < least * times * times / 4, (least, most)
