"""A journal of a study: a file that workers add lines to, of which none may be missing.

Each line carries how many its writer wrote before it, and a sum of itself, so that a journal that was cut or changed in its middle is
known as such. A line that a killed worker, or a full disk, left unfinished at the end says nothing yet: whoever writes next takes it off.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from edgekit.errors import BadInput

__all__ = ["Journal"]

WRITER, BEFORE, SUM = "worker_id", "before", "sum"
"""Who wrote a line, as Optuna calls it, how many lines it had written before, and the beginning of the sha256 of the line without this."""
LEFT_SECONDS = 30.0
"""How long a writer may need, at the very most."""
FIX = "bring the whole file back, from a copy; for another search use another --build, or another --storage"


class Journal(BaseJournalBackend):
    """What Optuna reads and writes a journal by."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = JournalFileBackend(str(path))
        except OSError as fault:
            raise StorageInternalError(str(fault)) from fault
        self.written: dict[str, int] = {}
        """Writer -> its lines among those that were read."""
        self.own: dict[str, int] = {}
        """Likewise of this process, among those that were written."""
        self.checked = 0
        """Lines that were read."""
        self.size = 0
        """Bytes that the file had when this process wrote last."""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The lines from one on.

        Raises:
            BadInput: lines are missing, or are none of a journal.
            StorageInternalError: the file cannot be read.
        """
        try:
            for number, line in enumerate(self.file.read_logs(log_number_from), log_number_from):
                self._check(number, line)
                yield line
        except ValueError:
            if self.written:
                raise BadInput(
                    "no storage of a study of edgekit: a line of it cannot be read", where=str(self.path), fix=FIX
                ) from None
            raise BadInput(
                "no storage of a study of edgekit: the file holds something else", where=str(self.path),
                fix="name a file that is not there, in which a study is begun, or the journal of one",
            ) from None  # fmt: skip
        except OSError as fault:
            raise StorageInternalError(str(fault)) from fault

    def _check(self, number: int, line: object) -> None:
        if number < self.checked:
            return
        if not isinstance(line, dict) or not isinstance(line.get(WRITER), str) or type(line.get(BEFORE)) is not int:
            raise BadInput(f"no storage of a study of edgekit: line {number + 1} is none", where=str(self.path), fix=FIX)
        if line.pop(SUM, None) != _sum(_text(line)):
            raise BadInput(f"the journal was changed: line {number + 1} is not what was written", where=str(self.path), fix=FIX)
        known = self.written.get(line[WRITER], 0)
        if line[BEFORE] != known:
            raise BadInput(
                f"the journal was cut: before line {number + 1} its writer had written {line[BEFORE]} lines, and {known} of them are there",
                where=str(self.path), fix=FIX,
            )  # fmt: skip
        self.written[line[WRITER]] = known + 1
        self.checked = number + 1

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines, all of them or none.

        Raises:
            BadInput: the file is shorter than it was.
            StorageInternalError: the disk is full, or the file is gone.
        """
        try:
            self._append(logs)
        except OSError as fault:
            raise StorageInternalError(str(fault)) from fault

    def _append(self, logs: list[dict[str, Any]]) -> None:
        own, lines = dict(self.own), []
        for log in logs:
            before = own.get(log[WRITER], 0)
            own[log[WRITER]] = before + 1
            line = {**log, BEFORE: before}
            lines.append(_text({**line, SUM: _sum(_text(line))}) + "\n")
        with _locked(self.path), self.path.open("r+b") as file:
            with suppress(OSError):  # where the disk knows such locks, whatever became of the link
                fcntl.flock(file, fcntl.LOCK_EX)
            end = _whole(file)
            if end < self.size:
                raise BadInput("the journal is shorter than it was: it was cut", where=str(self.path), fix=FIX)
            file.truncate(end)
            file.seek(end)
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
            self.size = file.tell()
        self.own = own


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, on disks of any kind: whoever made the link beside the journal. A link that stood still for `LEFT_SECONDS`, by the
    clock of whoever waits, was left by a worker that was killed.

    Optuna's own lock leads to the journal, and is waited for without end by whoever sees the journal at another path.
    """
    link, own = path.with_name(f"{path.name}.lock"), uuid.uuid4().hex
    seen, since, pause = "", time.monotonic(), 0.001
    patience = LEFT_SECONDS * random.uniform(1, 1.2)  # of several that wait, one finds it left before the others do
    while True:
        try:
            link.symlink_to(own)
            break
        except FileExistsError:
            held = _held(link)
            if held != seen:
                seen, since = held, time.monotonic()
            elif held and time.monotonic() - since > patience:
                link.unlink(missing_ok=True)
                continue
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
    try:
        yield
    finally:
        if _held(link) == own:
            link.unlink(missing_ok=True)


def _held(link: Path) -> str:
    """Who made the link; "" where there is none any more."""
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


def _text(line: Mapping[str, Any]) -> str:
    return json.dumps(line, separators=(",", ":"))


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _whole(file: Any) -> int:
    """Where the last whole line ends."""
    end: int = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 4096)
        file.seek(start)
        found: int = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
