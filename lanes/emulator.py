"""Running a program on a CPU that is not here, watching which of its instructions come up, and saying how it ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread, Timer

from edgekit.errors import CheckFailed

__all__ = ["Ended", "EmulatedCPU", "ended_well", "run", "stop"]

SECONDS = 900
"""Longest time for one program; tens of times what any takes on an idle machine."""
WATCHED = {
    "aarch64": ("uadalp", "sadalp", "udot", "sdot", "ummla", "smmla", "umopa", "smopa", "usmopa", "bfmmla"),
    "x86_64": ("vpmaddubsw", "vpmaddwd", "vpdpbusd", "vpdpbusds"),
}
"""Instructions that multiply bytes and add the products: which of them are met tells which kernel was chosen."""


RUNNING: set[subprocess.Popen[str]] = set()


@dataclass(frozen=True)
class EmulatedCPU:
    """A CPU as qemu-user emulates it, and the Python that runs on it."""

    cpu: str
    """As qemu names it: cortex-a72."""
    arch: str
    emulator: Path
    python: Path
    root: Path | None = None
    """Where its libraries are looked up first; None takes this system's."""
    site: Path | None = None
    """Its installed packages, where `python` does not find them by itself."""

    def command(self, arguments: Sequence[str], log: Path | None = None) -> list[str]:
        """The argument vector; with `log`, every piece of code is written there in assembly when it is first translated."""
        words = [str(self.emulator), "-cpu", self.cpu]
        words += ["-L", str(self.root)] if self.root else []
        words += ["-E", f"PYTHONPATH={self.site}"] if self.site else []
        words += ["-d", "in_asm", "-D", str(log)] if log else []
        return [*words, str(self.python), *arguments]


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int
    """As a shell would say it: 128 and the signal's number where one ended it."""
    out: str
    err: str
    met: dict[str, int]
    """Watched instruction -> how often it stands in the code that ran; empty where nobody watched."""


def run(
    chip: EmulatedCPU, arguments: Sequence[str], *, watch: bool = False, line: Callable[[str], None] | None = None
) -> Ended:
    """Run `python arguments` on `chip`; `line` is called with each line of its output as it comes."""
    met: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch, (Path(scratch) / "errors").open("w+", errors="replace") as errors:
        log = Path(scratch) / "in_asm" if watch else None
        if log:
            os.mkfifo(log)
            reader = Thread(target=_count, args=(log, WATCHED[chip.arch], met), daemon=True)
            reader.start()
        environment = {"PATH": os.environ.get("PATH", ""), "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8", "TMPDIR": scratch}
        started = subprocess.Popen(
            chip.command(arguments, log), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=errors, text=True,
        )  # fmt: skip
        shown = []
        with started as process:
            RUNNING.add(process)
            watchdog = Timer(SECONDS, process.kill)
            watchdog.start()
            try:
                assert process.stdout is not None
                for text in process.stdout:
                    shown.append(text)
                    if line:
                        line(text)
                process.wait()
            finally:
                watchdog.cancel()
                process.kill()
                RUNNING.discard(process)
        if log:
            with os.fdopen(os.open(log, os.O_RDWR | os.O_NONBLOCK)):  # a program that died early never opened it
                pass
            reader.join(timeout=30)
        errors.seek(0)
        told = errors.read()
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Ended(code, "".join(shown), told, dict(sorted(met.items())))


def stop() -> None:
    """End every program that runs now, in whatever thread."""
    for process in list(RUNNING):
        process.kill()


def ended_well(ended: Ended, chip: EmulatedCPU, expected: int = 0) -> Ended:
    """`ended`, where its exit code is `expected`.

    Raises:
        CheckFailed: it is not; of an instruction that the CPU lacks, with that said.
    """
    if ended.code == expected:
        return ended
    last = ended.err.strip().splitlines()[-5:]
    if ended.code == 128 + signal.SIGILL:
        raise CheckFailed(
            f"{chip.cpu} met an instruction that it does not have (SIGILL)", where="lanes", faults=last,
            fix="this build of onnxruntime or numpy needs a newer instruction set: use a wheel for this chip",
        )  # fmt: skip
    if ended.code == 128 + signal.SIGKILL:
        raise CheckFailed(f"{chip.cpu}: killed, by lack of memory or after {SECONDS} s", where="lanes", faults=last)
    raise CheckFailed(f"{chip.cpu}: ended with {ended.code} instead of {expected}", where="lanes", faults=last)


def _count(log: Path, names: Sequence[str], met: Counter[str]) -> None:
    """Count mnemonics in what qemu writes: lines of address, code word, mnemonic and operands."""
    wanted = re.compile(r"\b(" + "|".join(names) + r")\b")
    with log.open(encoding="utf-8", errors="replace") as lines:
        while chunk := lines.readlines(1 << 20):
            met.update(wanted.findall("".join(chunk)))
