"""The parent: it gives doors to children, sees what they die of or hang in, and keeps what is found."""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.runtime.bundle.known import KNOWN
from edgekit.runtime.bundle.proof import PROOF
from tests.fuzz.child import mutation, work
from tests.fuzz.door import Door, Files, write_files

__all__ = ["Tally", "fuzz", "fuzz_door"]

CPU_SECONDS = 8.0
"""Of one mutation, at most: what takes more hangs. The promise is 2 s on a quiet machine."""
WAIT_SECONDS = 120.0
"""Of one mutation without any progress, however little of the processor it takes."""
POLL_SECONDS = 0.2
TURN_SECONDS = 20.0
"""At one door, before the next has its turn."""
BATCH = 2000
BATCH_WHOLE = 200


@dataclass
class Tally:
    """What was done at one door."""

    executions: int = 0
    refused: int = 0
    loaded: int = 0
    seconds: float = 0.0
    crashes: int = 0
    hangs: int = 0
    finds: int = 0
    """Inputs of all kinds of finds."""
    marks: dict[str, str] = field(default_factory=dict)
    """Each different find: what it is."""


def fuzz(doors: Sequence[Door], seed: int, seconds: float, out: Path, *, most: int | None = None) -> dict[str, Tally]:
    """Give each door its share of `seconds`, or let it be entered `most` times. What is found is written below `out`.

    Whole bundles have a third of the time, all parsers together the rest.
    """
    tallies = {door.name: Tally() for door in doors}
    wholes = sum(door.whole for door in doors)
    shares = {
        door.name: 1.0 if wholes in (0, len(doors)) or not door.whole else (len(doors) - wholes) / 2 / wholes for door in doors
    }
    turn = seconds / sum(shares.values())
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        behind = [door for door in doors if most is None or tallies[door.name].executions < most]
        if not behind:
            break
        door = min(behind, key=lambda door: tallies[door.name].seconds / shares[door.name])
        wanted = None if most is None else most - tallies[door.name].executions
        fuzz_door(door, seed, tallies[door.name], out, left=min(left, TURN_SECONDS, turn * shares[door.name]), most=wanted)
    return tallies


def fuzz_door(
    door: Door, seed: int, tally: Tally, out: Path, *, left: float, most: int | None = None, cpu_seconds: float = CPU_SECONDS
) -> None:
    """One batch of mutations in one child, `most` of them or as many as `left` seconds allow."""
    count = min(BATCH_WHOLE if door.whole else BATCH, most or BATCH)
    start = tally.executions
    door.seeds()  # made here, once, and not by each child
    progress = mmap.mmap(-1, 32)
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
    room = Path(tempfile.mkdtemp(prefix="edgekit-fuzz-", dir=base))
    began = time.monotonic()
    try:
        (room / "tmp").mkdir()
        receiver, sender = multiprocessing.Pipe(duplex=False)
        child = os.fork()
        if child == 0:
            code = 70
            try:
                os.setsid()
                receiver.close()
                os.environ["TMPDIR"] = tempfile.tempdir = str(room / "tmp")
                # this is the child with limits: what one of its own would keep from it is what is looked for
                os.environ |= {KNOWN: str(room / "known"), PROOF: "never"}
                work(door, seed, start, count, left, room / "input", progress, sender, set(tally.marks))
            finally:
                os._exit(code)
        sender.close()
        verdict = _watched(child, receiver, progress, cpu_seconds)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    tally.seconds += time.monotonic() - began
    if isinstance(verdict, dict):
        tally.executions += verdict["executions"]
        tally.refused += verdict["refused"]
        tally.loaded += verdict["loaded"]
        for find in verdict["finds"]:
            _note(door, seed, tally, out, find)
        return
    number, _, refused, loaded = (int.from_bytes(progress[at : at + 8], "little") for at in range(0, 32, 8))
    tally.executions += number - start + 1  # the next batch goes on behind it
    tally.refused += refused
    tally.loaded += loaded
    tally.crashes += verdict != "hang"
    tally.hangs += verdict == "hang"
    kind = "hang" if verdict == "hang" else "crash"
    mark = f"{kind}/{verdict}/{_edited(door, seed, number)}"
    _note(door, seed, tally, out, {"kind": kind, "what": verdict, "mark": mark, "number": number, "files": None})


def _watched(child: int, receiver: Any, progress: mmap.mmap, cpu_seconds: float) -> dict[str, Any] | str:
    """The child's outcome; "hang", or what it died of."""
    seen, since, spent_then = bytes(progress), time.monotonic(), 0.0
    data = b""
    while True:
        if receiver.poll(POLL_SECONDS):
            with contextlib.suppress(EOFError):
                data = receiver.recv_bytes()
            _, status = os.waitpid(child, 0)
            if data and status == 0:
                found: dict[str, Any] = json.loads(data)
                return found
            return (
                f"signal {signal.Signals(os.WTERMSIG(status)).name}"
                if os.WIFSIGNALED(status)
                else f"exit {os.WEXITSTATUS(status)}"
            )
        spent = _cpu_seconds(child)
        if bytes(progress) != seen:
            seen, since, spent_then = bytes(progress), time.monotonic(), spent
        elif spent - spent_then > cpu_seconds or time.monotonic() - since > WAIT_SECONDS:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang"


def _cpu_seconds(child: int) -> float:
    """Of the process and of those of its children that have ended."""
    try:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _edited(door: Door, seed: int, number: int) -> str:
    """Names of the files that differ from every seed's."""
    files = mutation(door, seed, number)
    return ", ".join(sorted(name for name, data in files.items() if all(other.get(name) != data for other in door.seeds())))


def _note(door: Door, seed: int, tally: Tally, out: Path, find: dict[str, Any]) -> None:
    tally.finds += 1
    if find["mark"] in tally.marks:
        return
    tally.marks[find["mark"]] = find["what"]
    files: Files = mutation(door, seed, find["number"])
    if find["files"] is not None:
        files = {name: bytes.fromhex(data) for name, data in find["files"].items()}
    name = f"{find['kind']}-{hashlib.sha256(find['mark'].encode()).hexdigest()[:8]}"
    write_files(out / door.name / name, files)
    about = {"door": door.name, "seed": seed, **{key: find[key] for key in ("kind", "what", "mark", "number")}}
    (out / door.name / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")
