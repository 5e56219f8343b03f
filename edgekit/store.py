"""Where stages keep what they made: one folder a result, named by a key of everything the result depends on.

    <build>/store/<stage>/<key>/            files, stage.json, timing.json
    <build>/store/<stage>/<key>.partial/    a run in progress: lock, out/, scratch/

Files come first, the record (`stage.json`, with every file's size and sha256) last, then one rename makes it visible. So a
killed run leaves whole results or none, and a second run of the same stage waits for the first. Scratch outlives a kill,
which is how training resumes at its last epoch. Failures are never kept.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from edgekit.errors import NotPossibleHere
from edgekit.progress import Progress

__all__ = ["Artifact", "Context", "Stage", "find", "produce", "sha256_file", "write_atomically"]

RECORD = "stage.json"
TIMING = "timing.json"


@dataclass(frozen=True)
class Context:
    """What a stage's function is given: its inputs' folders, and two folders of its own."""

    inputs: Mapping[str, Path]
    out: Path
    scratch: Path
    progress: Progress


@dataclass(frozen=True)
class Stage:
    """One step of a plan. Everything that can change its result stands in here, and so in its key."""

    name: str
    """Folder name in the store, the same for every recipe."""
    title: str
    """What it does, for people."""
    run: Callable[[Context], dict[str, Any]]
    """Fills `context.out`; returns metrics, which are kept in the record and must not depend on time."""
    version: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    external: Mapping[str, str] = field(default_factory=dict)
    """Digests of what comes from outside: data files, source models."""
    target_fields: Mapping[str, Any] = field(default_factory=dict)
    """The fields of the target that this stage reads, with their values."""
    tools: tuple[str, ...] = ()
    """Packages whose version may change the result."""
    spread: bool = False
    """Whether all processes of an `accelerate launch` work on it together."""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that the key is made of: stage, version, settings, input keys, outside digests, target fields and tool versions."""
        return {
            "stage": self.name,
            "version": self.version,
            "settings": dict(self.settings),
            "inputs": {name: upstream.key for name, upstream in self.inputs.items()},
            "external": dict(self.external),
            "target_fields": dict(self.target_fields),
            "tools": {tool: _version(tool) for tool in self.tools},
        }

    @cached_property
    def key(self) -> str:
        """sha256 of the identity, 64 hex digits; worked out once, as a plan asks for it thousands of times."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()


@cache
def _version(package: str) -> str:
    """Version of an installed package; the look-up reads a file."""
    return metadata.version(package)


@dataclass(frozen=True)
class Artifact:
    """A stage's finished result."""

    stage: str
    key: str
    path: Path
    metrics: Mapping[str, Any]
    seconds: float


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder(root: Path, stage: Stage) -> Path:
    return root / "store" / stage.name / stage.key[:32]


def find(root: Path, stage: Stage) -> tuple[Artifact | None, str | None]:
    """(artifact, None) where the stage's result is there and whole; (None, why) where a corrupt one lies; (None, None) else.

    Every file is hashed again: a flipped bit, a missing or foreign file make the entry corrupt.
    """
    folder = _folder(root, stage)
    if not folder.is_dir():
        return None, None
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        timing = json.loads((folder / TIMING).read_text(encoding="utf-8"))
        if record["identity"] != json.loads(json.dumps(stage.identity)):
            return None, "its record is of another stage"
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {RECORD, TIMING}
        odd = sorted(there ^ set(record["files"]))
        if odd:
            return None, f"missing or foreign file {odd[0]}"
        for name, known in record["files"].items():
            path = folder / name
            if path.stat().st_size != known["size"] or sha256_file(path) != known["sha256"]:
                return None, f"{name} is not the file that was written"
        return Artifact(stage.name, stage.key, folder, record["metrics"], float(timing["seconds"])), None
    except (OSError, ValueError, KeyError, TypeError) as fault:
        return None, f"its record cannot be read: {fault}"


def produce(root: Path, stage: Stage, inputs: Mapping[str, Path], progress: Progress) -> Artifact:
    """Run `stage` and keep its result, or take the one that another run finished meanwhile.

    Raises:
        NotPossibleHere: the disk is full.
        Whatever the stage raises; nothing is kept then but its scratch.
    """
    folder = _folder(root, stage)
    partial = folder.with_name(folder.name + ".partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with _Locked(partial, progress):
            found, corrupt = find(root, stage)
            if found is not None:
                shutil.rmtree(partial, ignore_errors=True)
                return found
            if corrupt is not None:
                shutil.rmtree(folder)
            return _make(root, stage, inputs, folder, partial, progress)
    except Exception as fault:  # safetensors and onnx wrap the system's error in their own
        if getattr(fault, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or os.strerror(errno.ENOSPC) in str(fault):
            raise NotPossibleHere(
                f"no space left on the disk while running stage {stage.name}",
                where=str(root),
                fix="free some space or pass --build with a folder on another disk; finished stages are kept",
            ) from fault
        raise


def being_made(root: Path, stage: Stage) -> bool:
    """Whether another run is at this stage now; it may end, or begin, at any moment."""
    folder = _folder(root, stage)
    try:
        with (folder.with_name(folder.name + ".partial") / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _make(
    root: Path,
    stage: Stage,
    inputs: Mapping[str, Path],
    folder: Path,
    partial: Path,
    progress: Progress,
) -> Artifact:
    out, scratch = partial / "out", partial / "scratch"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    scratch.mkdir(exist_ok=True)
    spent = partial / "spent.json"
    before = float(json.loads(spent.read_text())) if spent.is_file() else 0.0
    started = time.monotonic()
    try:
        metrics = stage.run(Context(inputs, out, scratch, progress))
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        write_atomically(spent, json.dumps(before + time.monotonic() - started))
        raise
    seconds = before + time.monotonic() - started
    files = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        _sync(path)
        files[str(path.relative_to(out))] = {"size": path.stat().st_size, "sha256": sha256_file(path)}
    record = {"schema_version": 1, "key": stage.key, "identity": stage.identity, "files": files, "metrics": metrics}
    write_atomically(out / TIMING, json.dumps({"seconds": round(seconds, 3)}))
    write_atomically(out / RECORD, json.dumps(record, indent=1, sort_keys=True))
    out.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(partial, ignore_errors=True)
    return Artifact(stage.name, stage.key, folder, json.loads(json.dumps(metrics)), seconds)


class _Locked:
    """Hold a folder's lock file; the system releases it when the process dies, however it dies."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder = folder
        self.progress = progress

    def __enter__(self) -> None:
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = (self.folder / "lock").open("w")
            waited = 0
            while True:
                try:
                    fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self.progress(0, 1, f"waiting for another run that is doing this stage ({waited // 2} s)")
                    time.sleep(0.5)
                    waited += 1
            # The holder removes the folder when it is done: a lock on a removed file guards nothing.
            try:
                if os.fstat(self.file.fileno()).st_ino == (self.folder / "lock").stat().st_ino:
                    return
            except FileNotFoundError:
                pass
            self.file.close()

    def __exit__(self, *_: object) -> None:
        self.file.close()


def write_atomically(path: Path, text: str) -> None:
    """Write `text` under a temporary name in the same folder, sync it, then rename: readers see the old or the new file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
