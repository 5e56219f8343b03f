"""A store that several machines share, behind fsspec: what one of them has made, none makes again.

    <address>/edgekit-store.json            that it is one, and of which form
    <address>/stages/<stage>/<key>.json     the files of a stage's result: names, sizes, sha256
    <address>/files/<aa>/<sha256>           each file once, named by its contents
    <address>/parts/                        uploads in progress, and what a killed one left

An upload has a name of its own and is renamed when it is whole; the list of files comes last. Nothing that is read is believed: a file is
compared with the sha256 that names it, the record with the stage that is asked for, and the whole is taken into the store of
this machine (`store.take_in`) by the rules of what is made here. The results of a stage that two machines make at the same moment are both
whole, and the first that is there stays. Whoever may write there is trusted with what results say.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from edgekit.config.address import without_password
from edgekit.errors import BadInput, CheckFailed, EdgekitError, NotPossibleHere
from edgekit.progress import Progress
from edgekit.runtime.bundle.manifest import Asset
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.records import read_record, within
from edgekit.runtime.strict_json import strict_json
from edgekit.store import OWN_FILES, Artifact, Stage, check_record, sha256_file, take_in, where_in

if TYPE_CHECKING:
    from fsspec.spec import AbstractFileSystem

__all__ = ["SharedStore", "open_shared"]

MARK, STAGES, FILES, PARTS = "edgekit-store.json", "stages", "files", "parts"
SCHEMA = 1
LARGEST_LIST = 16_000_000
"""Bytes of a list of files at most."""
CHUNK = 1 << 20
ASKED_AGAIN_SECONDS = 60.0
"""A store that did not answer is left alone for so long: work here goes on meanwhile."""
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "s3": {
        "use_listings_cache": False,
        "config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 3}},
    },
    "ssh": {"known_hosts": (), "connect_timeout": 10, "login_timeout": 20, "keepalive_interval": 15},
}
"""Of a protocol, for its library. `use_listings_cache`: what others put there is seen. `known_hosts`: of the user; without it, sshfs would trust
whoever answers."""
FLAT = ("s3", "s3a", "gs", "gcs", "abfs", "az")
"""Where names alone make folders: to make one there would make a bucket that is not there, as of a slip of the pen."""
PATTERNS = "?*["
"""What libraries take for more than a part of a name, but in folders of this machine."""
EXTRAS = {"s3": "store-s3", "ssh": "store"}


@dataclass(frozen=True)
class Mark:
    """What the mark of a shared store says."""

    schema_version: int = field(metadata=within(SCHEMA, SCHEMA))


@dataclass(frozen=True)
class FileList:
    """The files of a stage's result."""

    schema_version: int = field(metadata=within(SCHEMA, SCHEMA))
    files: Mapping[str, Asset]


class _Lies(Exception):
    """What the store gave is not what it was given; the message says what."""


@dataclass
class SharedStore:
    """One that answered, with what this process knows of it."""

    address: str
    """As messages show it."""
    connect: Callable[[], tuple[AbstractFileSystem, str]]
    """Gives a new connection, and the store's folder there."""
    system: AbstractFileSystem
    root: str
    flat: bool
    """Whether names alone make folders there."""
    there: set[str] = field(default_factory=set)
    """Stages of which it is known that their results are there."""
    spoiled: set[str] = field(default_factory=set)
    """Stages whose results there are not what was written, and are to be written again."""
    silent_since: float | None = None
    """When it stopped answering, by this machine's clock."""
    begun: bool = False
    """Whether it was begun by this process, as nothing lay there."""
    refused_since: float | None = None
    """Likewise when it took nothing, though it may give: one that may be read alone."""

    def take(self, build: Path, stage: Stage, progress: Progress) -> tuple[Artifact | None, str | None]:
        """(the stage's result, taken into the store of `build`; None where it is not there or could not be had, why it could not).

        Raises:
            NotPossibleHere: the disk here is full.
        """
        if not _asked(self.silent_since):
            return None, None
        listed = self._list(stage)
        try:
            if self.silent_since is not None:
                self.system, _ = self.connect()  # a connection that was lost is not found again by itself
            data = self._read(listed, LARGEST_LIST)
        except FileNotFoundError:
            self.silent_since = None
            return None, None
        except Exception as fault:  # whatever a library raises, work goes on here
            return None, self._silent(fault)
        try:
            artifact = take_in(
                build, stage, lambda out: self._fill(out, stage, _parse(data, FileList, listed).files, progress), progress
            )
        except (_Lies, BadInput, CheckFailed) as fault:
            self.spoiled.add(stage.key)
            self.there.discard(stage.key)
            return None, f"what {self.address} has of it is not what was written ({_words(fault)}); it is made again"
        except EdgekitError:
            raise
        except Exception as fault:
            return None, self._silent(fault)
        self.silent_since = None
        self.there.add(stage.key)
        return artifact, None

    def give(self, stage: Stage, artifact: Artifact, progress: Progress) -> str | None:
        """Put a result there where none is; returns in words why that could not be done, where it could not."""
        if stage.key in self.there or not _asked(self.silent_since) or not _asked(self.refused_since):
            return None
        listed, spoiled = self._list(stage), stage.key in self.spoiled
        try:
            if self.refused_since is not None:
                self.system, _ = self.connect()
            if spoiled or not self.system.exists(listed):
                self._put(listed, artifact.path, progress, anew=spoiled)
        except Exception as fault:
            said, self.refused_since = self.refused_since is not None, time.monotonic()
            return (
                None
                if said
                else f"{self.address} takes nothing ({_words(fault)}): what is made here stays here, and it is asked again later"
            )
        self.refused_since = None
        self.there.add(stage.key)
        self.spoiled.discard(stage.key)
        return None

    def _list(self, stage: Stage) -> str:
        return f"{self.root}/{STAGES}/{where_in(stage)}.json"

    def _file(self, sha256: str) -> str:
        return f"{self.root}/{FILES}/{sha256[:2]}/{sha256}"

    def _fill(self, out: Path, stage: Stage, files: Mapping[str, Asset], progress: Progress) -> None:
        """Put the listed files into `out`: first what says which they have to be."""
        if missing := sorted(set(OWN_FILES) - set(files)):
            raise _Lies(f"the list lacks {missing[0]}")
        for name in OWN_FILES:
            self._fetch(out / name, name, files[name])
        wanted = check_record(out, stage).files
        if dict(wanted) != {name: asset for name, asset in files.items() if name not in OWN_FILES}:
            raise _Lies("the list is not of the files of the record")
        done, total = 0, sum(asset.size for asset in wanted.values())
        for name, asset in sorted(wanted.items()):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name or "\0" in name:
                raise _Lies(f"no name of a file: {name!r}")
            progress(done, total, f"from {self.address}")
            self._fetch(out / name, name, asset)
            done += asset.size

    def _fetch(self, target: Path, name: str, asset: Asset) -> None:
        """Copy one file from there, compared with its size and sha256 on the way."""
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        try:
            with self.system.open(self._file(asset.sha256), "rb") as source, target.open("wb") as copy:
                while size <= asset.size and (part := source.read(min(CHUNK, asset.size + 1 - size))):
                    digest.update(part)
                    size += len(part)
                    copy.write(part)
        except FileNotFoundError:
            raise _Lies(f"{name} is not there") from None
        if (size, digest.hexdigest()) != (asset.size, asset.sha256):
            raise _Lies(f"{name} has other bytes")

    def _put(self, listed: str, folder: Path, progress: Progress, *, anew: bool) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        total, done = sum(path.stat().st_size for path in paths), 0
        files: dict[str, JsonValue] = {}
        for path in paths:
            size, sha256 = path.stat().st_size, sha256_file(path)
            progress(done, total, f"to {self.address}")
            if anew or not self._has(self._file(sha256), size):
                self._upload(path, self._file(sha256))
            done += size
            files[path.relative_to(folder).as_posix()] = {"size": size, "sha256": sha256}
        self._write(listed, {"schema_version": SCHEMA, "files": files})

    def _has(self, path: str, size: int) -> bool:
        try:
            return bool(self.system.info(path)["size"] == size)
        except FileNotFoundError:
            return False

    def _upload(self, source: Path | bytes, target: str) -> None:
        """Whole under its name, or not at all."""
        part = f"{self.root}/{PARTS}/{uuid.uuid4().hex}"
        for path in () if self.flat else (part, target):
            self.system.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            if isinstance(source, bytes):
                self.system.pipe_file(part, source)
            else:
                self.system.put_file(str(source), part)
            self.system.mv(part, target)
        except BaseException:
            with suppress(Exception):
                self.system.rm_file(part)
            raise

    def _write(self, path: str, document: JsonObject) -> None:
        self._upload(json.dumps(document, indent=1, sort_keys=True).encode(), path)

    def _read(self, path: str, most: int) -> bytes:
        """The file's first bytes, one more than `most` at the most."""
        with self.system.open(path, "rb") as file:
            return bytes(file.read(most + 1))

    def _silent(self, fault: Exception) -> str | None:
        """Leave it alone for a while; what to say, where this was not said yet."""
        said, self.silent_since = self.silent_since is not None, time.monotonic()
        return (
            None
            if said
            else f"{self.address} does not answer ({_words(fault)}): work goes on here without it, and it is asked again later"
        )


def open_shared(address: str) -> SharedStore:
    """The store at `address`, which is begun where nothing lies.

    Raises:
        BadInput: no address of a store, or something else lies there.
        NotPossibleHere: a library is missing, or it does not answer.
    """
    shown, kind = without_password(address), address.partition("://")[0]
    if "://" not in address or "::" in address or not address.partition("://")[2]:
        raise BadInput(
            "no address of a store", where=shown, fix="give s3://BUCKET/FOLDER, ssh://USER@HOST/FOLDER or file:///FOLDER"
        )
    here, rest = kind in ("file", "local"), address.partition("://")[2]
    if here and not rest.startswith("/"):
        raise BadInput(
            f"a folder of this machine begins with /, and {rest} is one of wherever a command is started", where=shown,
            fix=f"give {kind}:///FOLDER, with three",
        )  # fmt: skip
    if not here and (odd := sorted(set(rest) & set(PATTERNS))):
        raise BadInput(
            f"{' '.join(odd)} in its name would be read as a pattern or an option", where=shown, fix="name another folder"
        )
    try:
        fsspec = importlib.import_module("fsspec")
        core = importlib.import_module("fsspec.core")
    except ImportError:
        raise NotPossibleHere("a shared store needs fsspec", where=shown, fix='pip install "edgekit[store]"') from None
    if kind not in fsspec.available_protocols():
        raise BadInput(f"no store of this kind: {kind}", where=shown, fix="give s3://…, ssh://… or file:///…")
    try:
        connect = partial(core.url_to_fs, address, skip_instance_cache=True, **OPTIONS.get(kind, {}))
        system, root = connect()
        shared = SharedStore(shown, connect, system, root.rstrip("/"), kind in FLAT)
        try:
            mark = shared._read(f"{shared.root}/{MARK}", CHUNK)
        except FileNotFoundError:
            above = str(PurePosixPath(shared.root).parent)
            if not shared.flat and not system.exists(shared.root) and not system.exists(above):
                raise BadInput(
                    f"there is no folder {above} for it", where=shown, fix="make that folder first, or correct the address"
                ) from None
            shared._write(f"{shared.root}/{MARK}", {"schema_version": SCHEMA})
            shared.begun = True
        else:
            _parse(mark, Mark, MARK)
    except BadInput:
        raise
    except ImportError as fault:
        extra = EXTRAS.get(kind)
        raise NotPossibleHere(
            f"the library for {kind}:// is not installed: {fault}", where=shown,
            fix=f'pip install "edgekit[{extra}]"' if extra else "install what it names",
        ) from None  # fmt: skip
    except _Lies as fault:
        raise BadInput(
            f"is no store of this edgekit: {fault}", where=shown, fix="name an empty folder, or one that this version began"
        ) from None
    except ValueError as fault:
        raise BadInput(f"no address of a store: {fault}", where=shown) from None
    except Exception as fault:  # whatever a library raises
        raise NotPossibleHere(
            f"the shared store does not answer: {_words(fault)}", where=shown,
            fix="see that this address can be reached and written to from here; without --store this machine makes everything itself",
        ) from None  # fmt: skip
    return shared


def _parse(data: bytes, kind: type[Any], name: str) -> Any:
    """A record of the store; raises _Lies where it is none."""
    try:
        wrong: list[str] = []
        record = read_record(kind, strict_json(data, name, most=LARGEST_LIST), name, wrong)
    except BadInput as fault:
        raise _Lies(f"{PurePosixPath(name).name}: {fault.what}") from None
    if record is None:
        raise _Lies(wrong[0])
    return record


def _asked(since: float | None) -> bool:
    """Whether it is asked now, and not left alone because it did not answer a moment ago."""
    return since is None or time.monotonic() - since > ASKED_AGAIN_SECONDS


def _words(fault: Exception) -> str:
    return (str(fault).splitlines() or [type(fault).__name__])[0][:200] or type(fault).__name__
