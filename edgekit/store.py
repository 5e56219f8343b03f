"""Where stages keep their results: one folder a result, named by a key of everything the result depends on.

    <build>/store/<stage>/<key>/            files, stage.json, timing.json
    <build>/store/<stage>/<key>.partial/    a run in progress: lock, out/, scratch/

Files come first, the record (`stage.json`, with every file's size and sha256) last, then one rename makes it visible. So a
killed run leaves whole results or none, and a second run of the same stage waits for the first. Scratch outlives a kill,
which is how training resumes after its last whole epoch. Failures are never kept.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypedDict, Union

from pydantic import BaseModel

from edgekit.errors import NotPossibleHere
from edgekit.progress import Progress
from edgekit.runtime.jsontypes import JsonObject, JsonValue

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "Artifact",
    "Context",
    "KeyPart",
    "Stage",
    "being_made",
    "find",
    "in_key",
    "produce",
    "sha256_file",
    "write_atomically",
]

RECORD = "stage.json"
TIMING = "timing.json"


KeyPart: TypeAlias = Union[
    bool, int, float, str, BaseModel, "DataclassInstance", Sequence["KeyPart"], Mapping[str, "KeyPart"], None
]
"""What a stage's settings may consist of: JSON, frozen dataclasses and pydantic models, which stand in the key field by field."""


def in_key(value: KeyPart) -> JsonValue:
    """`value` as it stands in a key: every field by its name, defaults included, so that a changed default changes the key.

    Raises:
        TypeError: something whose JSON is not one and the same each time, such as a set or a path.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, BaseModel):
        document: dict[str, JsonValue] = value.model_dump(mode="json", by_alias=True)
        return document
    if is_dataclass(value):
        return {part.name: in_key(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): in_key(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [in_key(part) for part in value]
    raise TypeError(f"a {type(value).__name__} cannot stand in a stage's key")


class Identity(TypedDict):
    """All that a stage's key is made of."""

    stage: str
    version: int
    settings: JsonValue
    inputs: dict[str, str]
    external: dict[str, str]
    target_fields: JsonValue
    tools: dict[str, str]


@dataclass(frozen=True)
class Context:
    """What a stage's function gets: its inputs' folders, and two folders of its own."""

    inputs: Mapping[str, Path]
    out: Path
    scratch: Path
    progress: Progress


@dataclass(frozen=True, eq=False)
class Stage:
    """One step of a plan. Everything that can change its result stands in here, and so in its key: equal keys, equal results."""

    name: str
    """Folder name in the store, the same for every recipe."""
    title: str
    """What it does, for people."""
    run: Callable[[Context], JsonObject]
    """Fills `context.out`; returns metrics, which are kept in the record and must not depend on time."""
    version: int = 1
    """A number to raise whenever what `run` makes of the same settings and inputs changes."""
    settings: KeyPart = None
    """All that `run` is told, but for its inputs."""
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    external: Mapping[str, str] = field(default_factory=dict)
    """Digests of what no stage makes, by name: data files, source models."""
    target_fields: Mapping[str, KeyPart] = field(default_factory=dict)
    """The fields of the target that `run` reads, with their values."""
    tools: tuple[str, ...] = ()
    """Packages whose version may change the result."""
    spread: bool = False
    """Whether all processes of an `accelerate launch` work on it together."""

    @cached_property
    def identity(self) -> Identity:
        """All that the key is made of, as JSON; the record of a finished stage holds it too."""
        return {
            "stage": self.name,
            "version": self.version,
            "settings": in_key(self.settings),
            "inputs": {name: upstream.key for name, upstream in self.inputs.items()},
            "external": dict(self.external),
            "target_fields": in_key(self.target_fields),
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
    metrics: JsonObject
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
        if record["identity"] != stage.identity:
            return None, "its record is of another stage"
        present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {RECORD, TIMING}
        differing = sorted(present ^ set(record["files"]))
        if differing:
            return None, f"missing or foreign file {differing[0]}"
        for name, written in record["files"].items():
            path = folder / name
            if path.stat().st_size != written["size"] or sha256_file(path) != written["sha256"]:
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
