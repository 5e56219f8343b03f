"""Who works on a study: which process a trial belongs to, and whether it is still there. No clock of one machine is compared with another's.

In one build folder a worker holds a lock, which the system takes from it when it ends, however it ends. A worker elsewhere counts up in
the study; one whose count has stood still for a while, by the clock of whoever watches, is gone.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from edgekit.runtime.outputs import write_atomically

if TYPE_CHECKING:
    from optuna.study import Study

__all__ = ["Worker", "at_work"]

BEAT_SECONDS, GONE_SECONDS = 15.0, 90.0
MOST = 1000
BEAT = "beat "
BOOT, COUNTERS = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/vmstat")


@dataclass
class Worker:
    """This process, as one of a study's workers."""

    study: Study
    folder: Path
    place: str
    """Of the build folder: a name that no other folder has."""
    slot: int
    shared: bool
    """Whether workers of other folders may be at the study."""
    died: str | None = None
    """What ended this worker's earlier life, where it ended by itself: it ran out of memory, or crashed."""
    seen: dict[str, tuple[object, float, bool]] = field(default_factory=dict)
    """What others were last seen at, when by this machine's clock, and whether they counted on since they were seen first."""

    @property
    def name(self) -> str:
        """The same whenever this command is started again alone in its build folder."""
        return f"{self.place}/{self.slot}"

    def has_left(self, name: str | None, number: int) -> bool:
        """Whether the worker called `name`, which began trial `number`, is gone. Asked between trials: this process has none of its own."""
        if name == self.name:
            return True  # an earlier life of this one
        if name is not None and name.startswith(f"{self.place}/"):
            held = _lock(self.folder, int(name.rpartition("/")[2]))
            if held is not None:
                held.close()
            return held is not None
        if name is None and not self.shared and self._alone():
            return True  # begun by an earlier life of this one, which had no time to say so
        sign = name or f"trial {number}"  # a worker that has not said yet who it is
        count = self.study.user_attrs.get(BEAT + sign)
        before = self.seen.get(sign)
        if before is None or before[0] != count:
            self.seen[sign] = (count, time.monotonic(), before is not None)
            return False
        return time.monotonic() - before[1] > GONE_SECONDS

    def is_there(self, name: str | None) -> bool:
        """Whether another worker was seen at work, after `has_left` has found no proof of the contrary."""
        if name is not None and name.startswith(f"{self.place}/"):
            return True  # it holds its lock
        return name is not None and name in self.seen and self.seen[name][2]

    def _alone(self) -> bool:
        """Whether no other process is at work in this folder."""
        others = [int(path.stem) for path in (self.folder / "workers").glob("*.lock") if path.stem != str(self.slot)]
        held = [_lock(self.folder, slot) for slot in others]
        for file in held:
            if file is not None:
                file.close()
        return None not in held


@contextmanager
def at_work(study: Study, folder: Path, *, shared: bool) -> Iterator[Worker]:
    """This process at work in the study's `folder`; `shared`: the study lies elsewhere, where workers of other folders may be too."""
    (folder / "workers").mkdir(parents=True, exist_ok=True)
    slot, held = next((slot, held) for slot in range(1, MOST) if (held := _lock(folder, slot)) is not None)
    life = folder / "workers" / f"{slot}.life"
    worker = Worker(study, folder, _place(folder, slot), slot, shared, _ended_by_itself(life))
    write_atomically(life, f"{_boot()} {_killed_for_memory()}\n")
    crashes = None if faulthandler.is_enabled() else life.open("a")
    if crashes is not None:
        faulthandler.enable(crashes)
    stop = threading.Event()
    teller = threading.Thread(target=_beat, args=(study, worker.name, stop), name="beat", daemon=True)
    if shared:
        teller.start()
    try:
        yield worker
    finally:
        stop.set()
        if shared:
            teller.join(timeout=BEAT_SECONDS)
        if crashes is not None:
            faulthandler.disable()
            crashes.close()
        life.unlink(missing_ok=True)
        held.close()


def _ended_by_itself(life: Path) -> str | None:
    """What ended the process that wrote `life` and did not take it away: None for a kill by somebody, or where nothing tells.

    The kernel counts whom it kills for memory, on this machine since it was started; Python writes to the file what it crashes of.
    """
    if not life.is_file():
        return None
    born, *crash = life.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    boot, _, killed = born.partition(" ")
    if fatal := [line for line in crash if line.startswith("Fatal Python error: ")]:
        return f"crashed ({fatal[0].removeprefix('Fatal Python error: ')})"
    now = _killed_for_memory()
    if boot == _boot() and killed.isdecimal() and now is not None and now > int(killed):
        return "ran out of memory"
    return None


def _boot() -> str:
    """Which start of this machine it is; "" where nothing tells."""
    with suppress(OSError):
        return BOOT.read_text(encoding="ascii").strip()
    return ""


def _killed_for_memory() -> int | None:
    """How many processes this machine's kernel has killed as there was no memory left; None where it does not say."""
    with suppress(OSError):
        return next(
            (
                int(line.split()[1])
                for line in COUNTERS.read_text(encoding="ascii").splitlines()
                if line.startswith("oom_kill ")
            ),
            None,
        )
    return None


def _beat(study: Study, name: str, stop: threading.Event) -> None:
    count = 0
    while True:
        count += 1
        with suppress(Exception):  # a storage that does not answer now may at the next beat; for good, whoever searches says it
            study.set_user_attr(BEAT + name, f"{os.getpid()} {count}")
        if stop.wait(BEAT_SECONDS):
            return


def _lock(folder: Path, slot: int) -> TextIO | None:
    """The lock of a slot; None where another process holds it."""
    file = (folder / "workers" / f"{slot}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _place(folder: Path, slot: int) -> str:
    """A name of `folder` that a copy of it does not keep: the lock of its first slot is another file there."""
    path = folder / "workers" / "place"
    file = str((folder / "workers" / "1.lock").stat().st_ino)
    while True:
        name, _, of = path.read_text(encoding="utf-8").partition(" ") if path.is_file() else ("", "", "")
        if name and of == file:
            return name
        if slot == 1:
            write_atomically(path, f"{uuid.uuid4().hex[:12]} {file}")
        else:
            time.sleep(0.05)  # whoever holds the first slot is about to write it
