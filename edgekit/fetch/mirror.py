"""A mirror: a folder with the files that recipes fetch, looked up before anything else. `EDGEKIT_MIRROR` names it.

    FOLDER/mirror.json                          what is there, with sizes and sha256; `edgekit mirror FOLDER` writes it
    FOLDER/models/OWNER/NAME@REVISION/          files of a hub model
    FOLDER/datasets/OWNER/NAME@REVISION/        files of a hub data set
    FOLDER/anything/else                        public files, found by their sha256
    FOLDER/stands-in.json                       which of these are no copies but conversions of what they stand in for, and why

Nothing outside the folder is read, and nothing in it that `mirror.json` does not say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal

from edgekit.config.recipe import SHA256
from edgekit.errors import BadInput, CheckFailed
from edgekit.runtime.files import check_file, read_file
from edgekit.runtime.outputs import write_atomically
from edgekit.runtime.records import OMITTED, as_json, matching, read_record, within
from edgekit.runtime.strict_json import strict_json
from edgekit.store import sha256_file

__all__ = ["INDEX", "MIRROR", "STANDS_IN", "Found", "Kind", "find_file", "find_folder", "mirror_folder", "write_index"]

MIRROR = "EDGEKIT_MIRROR"
INDEX, STANDS_IN = "mirror.json", "stands-in.json"
LARGEST = 16 * 1024**2
"""Bytes of an index: some hundred thousand files."""
LARGEST_FILE = 1024**4
SCHEMA = 1
Kind = Literal["models", "datasets"]
KINDS: tuple[Kind, ...] = ("models", "datasets")
AGAIN = "put the right file there, or, where this one is right, write the index again: edgekit mirror FOLDER"


@dataclass(frozen=True)
class File:
    """A file of a mirror."""

    path: str
    """From the mirror's folder, or from that of the hub model or data set that it belongs to."""
    size: int = field(metadata=within(0, LARGEST_FILE))
    sha256: str = field(metadata=matching(SHA256, "a sha256"))
    stands_in_for: str | None = field(default=None, metadata={**OMITTED, **matching(SHA256, "a sha256")})
    """sha256 of the public file that this one is a conversion of."""
    why: str | None = field(default=None, metadata=OMITTED)
    """What was converted, where it stands in for another."""


@dataclass(frozen=True)
class Folder:
    """A hub model or data set of a mirror."""

    kind: str
    name: str
    """As in owner/name."""
    revision: str
    files: tuple[File, ...]
    why: str | None = field(default=None, metadata=OMITTED)
    """What was converted, where its files are not the hub's."""

    @property
    def path(self) -> str:
        """From the mirror's folder."""
        return f"{self.kind}/{self.name}@{self.revision}"


@dataclass(frozen=True)
class Index:
    """What is in a mirror."""

    schema_version: int = field(metadata=within(SCHEMA, SCHEMA))
    files: tuple[File, ...]
    folders: tuple[Folder, ...]


@dataclass(frozen=True)
class StandIn:
    """Why a file, or a hub folder, is not what it is looked up as."""

    why: str
    sha256: str | None = field(default=None, metadata=matching(SHA256, "a sha256"))
    """Of the public file that a file stands in for; None for a hub folder, which its name says it of."""


@dataclass(frozen=True)
class Found:
    """What a mirror has."""

    path: Path
    size: int
    """Bytes of all its files."""
    stands_in: str = ""
    """Why it is not what it is looked up as; empty where it is."""


def mirror_folder() -> Path | None:
    """The folder that `EDGEKIT_MIRROR` names; None where it names none."""
    given = os.environ.get(MIRROR)
    return Path(given) if given else None


def find_file(sha256: str) -> Found | None:
    """The file that has `sha256` or stands in for it; None without a mirror, or where it has none.

    Raises:
        BadInput: the mirror has no index, or one that cannot be used.
        CheckFailed: the file is not what the index says.
    """
    folder = mirror_folder()
    index = None if folder is None else _index(folder)
    if folder is None or index is None:
        return None
    for file in index.files:
        if sha256 in (file.stands_in_for or file.sha256, file.sha256):
            stands_in = "" if sha256 == file.sha256 else f"from the mirror, in the place of the public file: {file.why}"
            return Found(_checked(folder, folder, file), file.size, stands_in)
    return None


def find_folder(kind: Kind, name: str, revision: str | None) -> Found | None:
    """The files of a hub model or data set; `revision` None: the one that is there. None without a mirror, or where it has none.

    Raises:
        BadInput: as `find_file`, or several revisions where none is asked for.
        CheckFailed: a file is missing, foreign, or not what the index says.
    """
    mirror = mirror_folder()
    index = None if mirror is None else _index(mirror)
    if mirror is None or index is None:
        return None
    held = [one for one in index.folders if (one.kind, one.name) == (kind, name) and revision in (None, one.revision)]
    if len(held) > 1:
        revisions = ", ".join(one.revision for one in held)
        raise BadInput(
            f"{name} in several revisions: {revisions}", where=str(mirror), fix="say which one: revision = ... in the recipe"
        )
    if not held:
        return None
    (one,) = held
    place = mirror / one.path
    foreign = sorted({path.relative_to(place).as_posix() for path in _files(place)} - {file.path for file in one.files})
    if foreign:
        raise CheckFailed(
            f"{foreign[0]} is not in the mirror's index",
            where=str(place),
            fix="take it out, or write the index again: edgekit mirror FOLDER",
        )
    for file in one.files:
        _checked(mirror, place, file)
    why = f"from the mirror, in the place of the hub's files: {one.why}" if one.why else ""
    return Found(place, sum(file.size for file in one.files), why)


def write_index(folder: Path) -> Index:
    """Write `mirror.json` of what lies in `folder`.

    Raises:
        BadInput: no folder, a link that leaves it, or a stands-in.json that cannot be used.
    """
    if not folder.is_dir():
        raise BadInput("no such folder", where=str(folder))
    stand_ins = _stand_ins(folder)
    within_folders: dict[str, list[File]] = {}
    files = []
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if name in (INDEX, STANDS_IN):
            continue
        _inside(folder, path)
        file = File(name, check_file(path), sha256_file(path))
        if (hub := _hub_folder(name)) is not None:
            within_folders.setdefault(hub, []).append(File(name.removeprefix(f"{hub}/"), file.size, file.sha256))
        elif (stands := stand_ins.pop(name, None)) is not None:
            if stands.sha256 is None:
                raise BadInput(f"{name}: `sha256` of the file that it stands in for is missing", where=str(folder / STANDS_IN))
            files.append(File(name, file.size, file.sha256, stands.sha256, stands.why))
        else:
            files.append(file)
    folders = []
    for path_, members in sorted(within_folders.items()):
        kind, _, rest = path_.partition("/")
        name, _, revision = rest.rpartition("@")
        stands = stand_ins.pop(path_, None)
        folders.append(Folder(kind, name, revision, tuple(members), None if stands is None else stands.why))
    if stand_ins:
        raise BadInput(
            f"{next(iter(stand_ins))}: no such file or hub folder",
            where=str(folder / STANDS_IN),
            fix="correct the path, or take it out",
        )
    index = Index(SCHEMA, tuple(files), tuple(folders))
    write_atomically(folder / INDEX, json.dumps(as_json(index), indent=1, ensure_ascii=False) + "\n")
    return index


def _hub_folder(name: str) -> str | None:
    """The folder of a hub model or data set that a file lies in, from the mirror's; None for another file."""
    parts = PurePosixPath(name).parts
    for depth in (2, 3):  # models/NAME@REVISION and models/OWNER/NAME@REVISION
        if len(parts) > depth and parts[0] in KINDS and "@" in parts[depth - 1]:
            return "/".join(parts[:depth])
    return None


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())


def _stand_ins(folder: Path) -> dict[str, StandIn]:
    path = folder / STANDS_IN
    if not path.is_file():
        return {}
    document, found = strict_json(read_file(path, LARGEST), STANDS_IN, most=LARGEST), {}
    faults: list[str] = []
    for name, given in document.items() if isinstance(document, Mapping) else ():
        if (one := read_record(StandIn, given, str(name), faults)) is not None:
            found[str(name)] = one
    if faults or not isinstance(document, Mapping):
        raise BadInput(
            "does not say what stands in for what",
            where=str(path),
            faults=faults[:5],
            fix='write {"PATH": {"sha256": "...", "why": "..."}}',
        )
    return found


def _index(folder: Path) -> Index:
    path = folder / INDEX
    if not path.is_file():
        raise BadInput(f"{MIRROR} names a folder without {INDEX}", where=str(folder), fix=f"edgekit mirror {folder}")
    return _index_then(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=4)
def _index_then(path: Path, changed: int, size: int) -> Index:
    """The index in one state of it."""
    faults: list[str] = []
    index = read_record(Index, strict_json(read_file(path, LARGEST), INDEX, most=LARGEST), "", faults)
    if index is not None:
        faults += [f"{one.path}: no kind of folder" for one in index.folders if one.kind not in KINDS]
        faults += [f"{file.path}: no path within the mirror" for file in index.files if not _plain(file.path)]
        faults += [
            f"{one.path}: no path within the mirror"
            for one in index.folders
            if not _plain(one.path) or not all(_plain(file.path) for file in one.files)
        ]
        faults += [
            f"{file.path}: stands in for another file, and `why` is missing"
            for file in index.files
            if file.stands_in_for and not file.why
        ]
    if index is None or faults:
        raise BadInput("no index of a mirror", where=str(path), faults=faults[:5], fix="write it again: edgekit mirror FOLDER")
    return index


def _plain(path: str) -> bool:
    parts = path.split("/")
    return bool(path) and "\\" not in path and "\0" not in path and not any(part in ("", ".", "..") for part in parts)


def _inside(folder: Path, path: Path) -> None:
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):  # resolve() fails on links in a circle
        raise BadInput("a link that leaves the mirror", where=str(path), fix="put the file itself there")


def _checked(mirror: Path, place: Path, file: File) -> Path:
    """The path of `file` in `place`, when it is what the index says."""
    path = place / file.path
    _inside(mirror, path)
    if not path.is_file():
        raise CheckFailed("the mirror's index names it, and it is not there", where=str(path), fix=AGAIN)
    size = check_file(path)
    found = _sha256_then(path, path.stat().st_mtime_ns, size) if size == file.size else None
    if found != file.sha256:
        has = f"{size:,} bytes, and not the {file.size:,}" if found is None else f"sha256 {found}, and not the {file.sha256}"
        raise CheckFailed(f"has {has} that the mirror's index says", where=str(path), fix=AGAIN)
    return path


@lru_cache(maxsize=1024)
def _sha256_then(path: Path, changed: int, size: int) -> str:
    """sha256 of a file in one state of it."""
    return sha256_file(path)
