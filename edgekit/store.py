"""Where stages keep their results: one folder a result, named by a key of everything the result depends on.

    <build>/store/<stage>/<key>/            files, stage.json, timing.json, and beside each of the two its digest
    <build>/store/<stage>/<key>.partial/    a run in progress: lock, out/, scratch/, spent.json, taken/

Files come first, the record (`stage.json`, with every file's size and sha256) last, then one rename makes it visible. So a
killed run leaves whole results or none, and a second run of the same stage waits for the first. Scratch outlives a kill,
which is how training resumes after its last whole epoch. Failures are never kept. What another machine has made is taken in by the
same rules (`take_in`): it is checked as what lies here is, then one rename.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Union, cast

from pydantic import BaseModel

from edgekit.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.progress import Progress
from edgekit.runtime.bundle.manifest import Asset
from edgekit.runtime.digest import check_beside, digest_line, name_beside
from edgekit.runtime.files import check_file, open_file, read_file
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.outputs import write_atomically
from edgekit.runtime.records import read_record, within
from edgekit.runtime.strict_json import strict_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "Artifact",
    "Context",
    "KeyPart",
    "LeftOver",
    "NOT_MADE",
    "OWN_FILES",
    "RECORD",
    "Stage",
    "being_made",
    "check_record",
    "find",
    "in_key",
    "is_there",
    "left_over",
    "metrics_of",
    "produce",
    "read_stage",
    "remove",
    "sha256_file",
    "sync",
    "sweep",
    "take_in",
    "where_in",
]

RECORD, TIMING = "stage.json", "timing.json"
OWN_FILES = tuple(name for kept in (RECORD, TIMING) for name in (kept, name_beside(kept)))
"""What the store itself writes beside a stage's files."""
LOCK, OUT, SCRATCH, SPENT, TAKEN = "lock", "out", "scratch", "spent.json", "taken"
"""What is in the folder of a run in progress."""
SCHEMA = 2
"""Of a record; those of before had no digest, and are made again."""
LARGEST = 64_000_000
"""Bytes of a record at most."""
NOT_MADE = "not_made"
"""Metric of a stage that found that there is nothing to make, with the reason: of a comparison alone, never of what is shipped."""


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


def metrics_of(folder: Path) -> dict[str, Any]:
    """Metrics of the stage whose result `folder` is."""
    return dict(read_stage(folder).metrics)


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def where_in(stage: Stage) -> str:
    """Where in a store the stage's result is: `stage/key`."""
    return f"{stage.name}/{stage.key[:32]}"


def _folder(root: Path, stage: Stage) -> Path:
    return root / "store" / where_in(stage)


def _partial(folder: Path) -> Path:
    """Where the result that will be `folder` is made."""
    return folder.with_name(folder.name + ".partial")


def find(root: Path, stage: Stage) -> tuple[Artifact | None, str | None]:
    """(artifact, None) where the stage's result is there and whole; (None, why) where a corrupt one lies, or what an earlier try left is
    corrupt; (None, None) else.

    The record and the time are compared with their digests, and every file is hashed again: a flipped bit, a missing or foreign file
    make the entry corrupt.
    """
    folder = _folder(root, stage)
    try:
        if not os.path.lexists(folder):
            _spent(_partial(folder))
            return None, None
        return _whole(folder, stage), None
    except (BadInput, CheckFailed) as fault:
        return None, "; ".join([f"{fault.where}: {fault.what}" if fault.where else fault.what, *fault.faults[:1]])
    except OSError as fault:
        return None, f"{fault.filename}: {fault.strerror}"


def is_there(root: Path, stage: Stage) -> bool:
    """Whether there is a result of the stage; whether it is whole `find` tells, which reads every file."""
    return _folder(root, stage).is_dir()


@dataclass(frozen=True)
class LeftOver:
    """What a run of a stage that was cut off left."""

    scratch: Path
    seconds: float
    """That it took; 0 where it was killed, and could not say."""


def left_over(root: Path, stage: Stage) -> LeftOver | None:
    """What a run that was cut off left of the stage; None where there is nothing, or nothing that can be trusted."""
    partial = _partial(_folder(root, stage))
    if not (partial / SCRATCH).is_dir():
        return None
    try:
        return LeftOver(partial / SCRATCH, _spent(partial))
    except BadInput:
        return None


def _whole(folder: Path, stage: Stage) -> Artifact:
    """The stage's result that lies in `folder`; raises BadInput or CheckFailed where it is not whole, or another stage's."""
    record = check_record(folder, stage)
    _check_files(folder, record)
    seconds = _seconds_in(_read_kept(folder / TIMING), folder / TIMING)
    return Artifact(stage.name, stage.key, folder, record.metrics, seconds)


def check_record(folder: Path, stage: Stage) -> Record:
    """The record in `folder`, which is to be the stage's.

    Raises:
        CheckFailed: it is not what was written, or another stage's.
        BadInput: not readable, or no record.
    """
    record = read_stage(folder)
    if (record.key, record.identity) != (stage.key, stage.identity):
        raise CheckFailed("its record is of another stage")
    return record


@dataclass(frozen=True)
class Record:
    """What `stage.json` says of a finished stage."""

    schema_version: int = field(metadata=within(SCHEMA, SCHEMA))
    key: str
    identity: JsonObject
    files: Mapping[str, Asset]
    metrics: JsonObject


def read_stage(folder: Path) -> Record:
    """The record of the finished stage whose result `folder` is, compared with its digest.

    Raises:
        CheckFailed: it is not what was written.
        BadInput: not readable, or no record.
    """
    faults: list[str] = []
    record = read_record(Record, _read_kept(folder / RECORD), RECORD, faults)
    if record is None:
        raise BadInput("no record of a stage", where=str(folder), faults=faults[:5])
    return record


def _read_kept(path: Path) -> object:
    """The JSON document at `path`, compared with its digest; raises as `read_stage`."""
    data = read_file(path, LARGEST)
    check_beside(path, data)
    return strict_json(data, str(path), most=LARGEST)


def _keep(path: Path, document: JsonObject) -> None:
    """Write what `_read_kept` reads, on the disk when this returns.

    Raises:
        CheckFailed: a number that is not finite, or whatever else cannot be read again.
    """
    data = json.dumps(document, indent=1, sort_keys=True).encode()
    try:
        strict_json(data, path.name, most=LARGEST)
    except BadInput as fault:
        raise CheckFailed(f"what the stage found cannot be kept: {fault.what}", where=path.name) from None
    for name, part in ((path.name, data), (name_beside(path.name), digest_line(path.name, data))):
        write_atomically(path.with_name(name), part.decode())


def _check_files(folder: Path, record: Record) -> None:
    """Raises CheckFailed where a file is missing, foreign, or not the one that was written."""
    present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    differing = sorted(present.difference(OWN_FILES) ^ set(record.files))
    if differing:
        raise CheckFailed(f"missing or foreign file {differing[0]}")
    for name, written in record.files.items():
        path = folder / name
        if check_file(path) != written.size or sha256_file(path) != written.sha256:
            raise CheckFailed(f"{name} is not the file that was written")


def _seconds_in(document: object, path: Path) -> float:
    """The seconds that the document read from `path` says; raises BadInput where it is nothing but a number of seconds."""
    seconds = document.get("seconds") if isinstance(document, dict) and len(document) == 1 else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise BadInput("no number of seconds", where=str(path))
    return float(seconds)


def _spent(partial: Path) -> float:
    """Seconds that earlier tries took.

    Raises:
        BadInput: what they left is not what they wrote.
    """
    path = partial / SPENT
    return _seconds_in(strict_json(read_file(path, LARGEST), str(path)), path) if os.path.lexists(path) else 0.0


def _begin_again_where_spoiled(partial: Path) -> None:
    """Remove what earlier tries left where their own record is not readable: nothing of it can be trusted then."""
    try:
        _spent(partial)
    except BadInput:
        for name in (OUT, SCRATCH, SPENT, TAKEN):
            remove(partial / name)


def produce(root: Path, stage: Stage, inputs: Mapping[str, Path], progress: Progress) -> Artifact:
    """Run `stage` and keep its result, or take the one that another run finished meanwhile.

    Raises:
        NotPossibleHere: the disk is full.
        Whatever the stage raises; nothing is kept then but its scratch.
    """
    folder = _folder(root, stage)
    partial = _partial(folder)
    with _room(root, stage), _Locked(partial, progress):
        found = _found_or_cleared(root, stage, folder, partial)
        return found or _make(root, stage, inputs, folder, partial, progress)


def take_in(root: Path, stage: Stage, fill: Callable[[Path], None], progress: Progress) -> Artifact:
    """Keep the stage's result as `fill` puts it into a folder, once it is found whole there; what a run in progress has so far stays till then.

    Raises:
        BadInput, CheckFailed: what is there then is not the stage's whole result.
        NotPossibleHere: the disk is full.
        Whatever `fill` raises.
    """
    folder = _folder(root, stage)
    partial = _partial(folder)
    with _room(root, stage), _Locked(partial, progress):
        found = _found_or_cleared(root, stage, folder, partial)
        if found is not None:
            return found
        taken = partial / TAKEN
        remove(taken)
        taken.mkdir()
        try:
            fill(taken)
            artifact = _whole(taken, stage)
        except BaseException:
            shutil.rmtree(taken, ignore_errors=True)
            raise
        for path in taken.rglob("*"):
            if path.is_file():
                sync(path)
        taken.rename(folder)
        sync(folder.parent)
        shutil.rmtree(partial, ignore_errors=True)
        return replace(artifact, path=folder)


def _found_or_cleared(root: Path, stage: Stage, folder: Path, partial: Path) -> Artifact | None:
    """The result that another run finished meanwhile; else None, and what is corrupt is gone."""
    found, corrupt = find(root, stage)
    if found is not None:
        shutil.rmtree(partial, ignore_errors=True)
    elif corrupt is not None:
        remove(folder)
        _begin_again_where_spoiled(partial)
    return found


@contextmanager
def _room(root: Path, stage: Stage) -> Iterator[None]:
    """A full disk becomes a message."""
    try:
        yield
    except Exception as fault:  # safetensors and onnx wrap the system's error in their own
        if getattr(fault, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or os.strerror(errno.ENOSPC) in str(fault):
            raise NotPossibleHere(
                f"no space left on the disk while running stage {stage.name}",
                where=str(root),
                fix="free some space or pass --build with a folder on another disk; finished stages are kept",
                see="no-room",
            ) from fault
        raise


def being_made(root: Path, stage: Stage) -> bool:
    """Whether another run is at this stage now; it may end, or begin, at any moment."""
    try:
        with open_file(_partial(_folder(root, stage)) / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except BadInput:  # there is none
        pass
    return False


def sweep(root: Path, stage: Stage) -> None:
    """Remove what a run left beside the stage's finished result that was killed just after it was in place."""
    partial = _partial(_folder(root, stage))
    if not partial.is_dir():
        return
    try:
        with open_file(partial / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(partial, ignore_errors=True)
    except (BlockingIOError, BadInput):  # another run is at it, or has done it meanwhile
        pass


def _make(
    root: Path,
    stage: Stage,
    inputs: Mapping[str, Path],
    folder: Path,
    partial: Path,
    progress: Progress,
) -> Artifact:
    out, scratch = partial / OUT, partial / SCRATCH
    remove(out)
    out.mkdir()
    if not scratch.is_dir():
        remove(scratch)
    scratch.mkdir(exist_ok=True)
    before = _spent(partial)
    started = time.monotonic()
    try:
        metrics = stage.run(Context(inputs, out, scratch, progress))
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        write_atomically(partial / SPENT, json.dumps({"seconds": before + time.monotonic() - started}))
        raise
    seconds = round(before + time.monotonic() - started, 3)
    files: dict[str, JsonObject] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        sync(path)
        files[str(path.relative_to(out))] = {"size": path.stat().st_size, "sha256": sha256_file(path)}
    _keep(out / TIMING, {"seconds": seconds})
    identity = cast("JsonObject", stage.identity)
    record: JsonObject = {"schema_version": SCHEMA, "key": stage.key, "identity": identity, "files": files, "metrics": metrics}
    _keep(out / RECORD, record)
    kept = read_stage(out).metrics
    out.rename(folder)
    sync(folder.parent)
    shutil.rmtree(partial, ignore_errors=True)
    return Artifact(stage.name, stage.key, folder, kept, seconds)


class _Locked:
    """Hold a folder's lock file; the system releases it when the process dies, however it dies."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder = folder
        self.progress = progress

    def __enter__(self) -> None:
        while True:
            for path, sound in ((self.folder, Path.is_dir), (self.folder / LOCK, Path.is_file)):
                if os.path.lexists(path) and (path.is_symlink() or not sound(path)):
                    remove(path)
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = (self.folder / LOCK).open("w")
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
                if os.fstat(self.file.fileno()).st_ino == (self.folder / LOCK).stat().st_ino:
                    return
            except FileNotFoundError:
                pass
            self.file.close()

    def __exit__(self, *_: object) -> None:
        self.file.close()


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, where there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return once a file's contents, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
