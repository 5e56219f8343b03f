"""The child process that opens doors: it makes each mutation by its number, so that the parent can make it again after a crash."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from edgekit.errors import EdgekitError
from edgekit.runtime.shown import visible
from tests.fuzz.door import Door, Files, write_files

__all__ = ["Find", "Outcome", "enter", "mutation", "work"]

TRIES = 300
"""How often a find is entered again at most while it is made smaller."""
LONGEST_MESSAGE = 60_000
"""Characters of a message, which `edgekit.runtime.errors` bounds."""


@dataclass(frozen=True)
class Find:
    """Something that must not be: neither refused by one of edgekit's own errors, nor sound."""

    kind: str
    """error, memory, crash, hang, litter."""
    what: str
    mark: str
    """What two finds share that are one fault: the kind, the error, where it came from."""


@dataclass
class Outcome:
    """What became of a batch."""

    executions: int = 0
    refused: int = 0
    loaded: int = 0
    finds: list[dict[str, Any]] = field(default_factory=list)


def mutation(door: Door, seed: int, number: int) -> dict[str, bytes]:
    """The input of that number, the same in each process."""
    random = Random(f"{seed}/{door.name}/{number}")
    seeds = door.seeds()
    return dict(door.edit(random.choice(seeds), seeds, random))


def enter(door: Door, folder: Path) -> tuple[bool, Find | None]:
    """(whether the input in `folder` was taken, what was wrong with that)."""
    try:
        door.enter(folder)
    except EdgekitError as fault:
        return False, _told(fault)
    except MemoryError as fault:
        return False, _find("memory", fault)
    except BaseException as fault:  # a panic in Rust is no Exception
        return False, _find("error", fault)
    return True, None


def _told(fault: EdgekitError) -> Find | None:
    """A refusal that nobody can read is a find too."""
    text = fault.text()
    try:
        text.encode()
        wrong = f"a message of {len(text):,} characters" if len(text) > LONGEST_MESSAGE else ""
    except UnicodeEncodeError:
        wrong = "a message that cannot be printed"
    wrong = wrong or ("" if visible(text) == text else "a message with control characters")
    return Find("error", f"{wrong}: {text[:200]!a}", f"message/{wrong.split(' of ')[0]}/{fault.what[:25]}") if wrong else None


def _find(kind: str, fault: BaseException) -> Find:
    frames = [
        (Path(frame.filename).name, frame.name)
        for frame in traceback.extract_tb(fault.__traceback__)
        if "/edgekit/" in frame.filename
    ]
    places = " < ".join(f"{file}:{name}" for file, name in reversed(frames[-3:]))
    return Find(kind, f"{type(fault).__name__}: {str(fault)[:500]}", f"{kind}/{type(fault).__name__}/{places}")


def work(
    door: Door,
    seed: int,
    start: int,
    count: int,
    seconds: float,
    folder: Path,
    progress: Any,
    pipe: Connection,
    known: set[str],
) -> None:
    """Enter the mutations from `start` on, `count` of them or as many as `seconds` allow, and send an `Outcome`.

    `progress` holds four numbers of eight bytes each, which the parent reads after a crash too: the mutation's, a count that moves with each
    entering, how many were refused and how many taken. Finds whose mark is in `known` are counted, not sent again.
    """
    _limit(door.memory)
    moves, until = 0, time.monotonic() + seconds
    outcome = Outcome()

    def moved(number: int) -> None:
        nonlocal moves
        moves += 1
        progress[0:32] = b"".join(value.to_bytes(8, "little") for value in (number, moves, outcome.refused, outcome.loaded))

    for number in range(start, start + count):
        if time.monotonic() > until:
            break
        moved(number)
        files = mutation(door, seed, number)
        write_files(folder, files)
        taken, find = enter(door, folder)
        outcome.executions += 1
        outcome.loaded += taken
        outcome.refused += not taken and find is None
        if find is not None:
            small = None
            if find.mark not in known:
                known.add(find.mark)
                small = _smaller(door, files, find, folder, lambda number=number: moved(number))
            sent = {name: data.hex() for name, data in small.items()} if small is not None else None
            outcome.finds.append({**asdict(find), "number": number, "files": sent})
    left = sorted(path.name for path in Path(tempfile.gettempdir()).iterdir())
    if left:
        outcome.finds.append({"kind": "litter", "what": ", ".join(left[:5]), "mark": "litter", "number": start, "files": None})
    pipe.send_bytes(json.dumps(asdict(outcome)).encode())
    pipe.close()
    os._exit(0)


def _limit(memory: int) -> None:
    """No more memory than that beyond what is taken now, no core files, no noise, and nothing that outlives the parent."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.disable()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    sys.setrecursionlimit(1000)


def _smaller(door: Door, files: Files, find: Find, folder: Path, moved: Callable[[], None]) -> dict[str, bytes]:
    """The input with as little of each file as shows the same: whole files first put back to sound ones, then stretches left out."""
    tries = 0

    def same(candidate: Mapping[str, bytes]) -> bool:
        nonlocal tries
        tries += 1
        moved()
        write_files(folder, candidate)
        found = enter(door, folder)[1]
        return found is not None and found.mark == find.mark

    small = dict(files)
    if door.whole:  # its digests are those of its files: a stretch left out would show another fault
        return small
    for name in sorted(small):
        size = max(1, len(small[name]) // 2)
        while size and tries < TRIES:
            at = 0
            while at < len(small[name]) and tries < TRIES:
                shorter = {**small, name: small[name][:at] + small[name][at + size :]}
                if same(shorter):
                    small = shorter
                else:
                    at += size
            size //= 2
    return small
