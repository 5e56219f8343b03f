"""Opening a bundle: every file hashed before any of it is used, nothing missing, nothing extra, no links, one list of labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from edgekit.runtime.bundle.config import Config, parse_config
from edgekit.runtime.bundle.manifest import Manifest
from edgekit.runtime.bundle.names import CONFIG, LARGEST_BUNDLE, MANIFEST
from edgekit.runtime.bundle.read import read_manifest
from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError
from edgekit.runtime.files import check_name, open_file
from edgekit.runtime.forks import at_exit_here

__all__ = ["Bundle", "open_bundle", "undisturbed"]

T = TypeVar("T")
TRIES = 20
"""How often a bundle is begun again that others replace meanwhile."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are what its manifest says. `keep` holds an unpacked archive's temporary folder alive."""

    folder: Path
    manifest: Manifest
    digest: str
    """sha256 of every field of the manifest as canonical JSON, which names the files by their sha256: of the whole bundle, therefore."""
    config: Config
    place: Path
    """What its file or folder is called outside: its archive, or `folder`."""
    keep: Any = None

    @property
    def not_covered(self) -> str | None:
        """What may have been changed unnoticed; None where nothing may."""
        if self.manifest.digest_file is not None:
            return None
        return "the manifest has no digest, as an earlier edgekit made it: changes of the manifest alone are not noticed, but for its labels"


def undisturbed(path: Path, work: Callable[[], T]) -> T:
    """What `work` makes of the bundle at `path`, begun again where another process put a new one in its place meanwhile: its files are read one
    after another, and half of each of two sound bundles is none.

    Raises:
        CheckFailed: it is replaced without end; or whatever `work` raises.
    """
    for _ in range(TRIES):
        before = _identity(path)
        try:
            made = work()
        except (EdgekitError, OSError):
            if _identity(path) == before:
                raise
            continue
        if _identity(path) == before:
            return made
    raise CheckFailed(
        f"was replaced {TRIES} times while it was read", where=str(path), fix="wait until whoever writes it is done"
    )


def _identity(path: Path) -> tuple[int, ...] | None:
    """Tells the archive or folder of a bundle from others that were, or will be, in its place."""
    try:
        state = (path if path.is_file() or (path / MANIFEST).exists() else path / "bundle").stat()
    except (OSError, ValueError):
        return None
    return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_ctime_ns


def open_bundle(path: str | Path) -> Bundle:
    """The bundle at `path`: its folder, the result folder above it, or a `.tar.gz` archive (unpacked to a temporary folder).

    Raises:
        BadInput: no bundle there, or a manifest or archive that cannot be trusted.
        CheckFailed: the manifest differs from its digest, a file from its sha256, or the labels from those of the model's configuration; a
            file is missing, or was added.
    """
    return undisturbed(Path(path), partial(_open, Path(path)))


def _open(given: Path) -> Bundle:
    path = given
    keep = None
    try:
        is_archive = path.is_file()
    except OSError as fault:  # a name that is too long, a folder that lets nobody in
        raise BadInput(f"cannot be read: {fault.strerror}", where=str(path)) from None
    if is_archive:
        keep = _Unpacked(path)
        path = keep.folder
    folder = path if (path / MANIFEST).exists() else path / "bundle"
    if not (folder / MANIFEST).exists():
        raise BadInput(
            "no bundle here (no manifest.json)",
            where=str(path),
            fix="name a bundle folder, the folder above it, or its archive",
            see="no-bundle-here",
        )
    check_name(folder)
    manifest, digest = read_manifest(folder)
    _check_files(folder, manifest)
    config = parse_config(folder / CONFIG) if CONFIG in manifest.assets else Config()
    _check_labels(folder, manifest, config)
    bundle = Bundle(folder, manifest, digest, config, folder if keep is None else given, keep)
    if bundle.not_covered is not None:
        _warn_once(f"{given}: {bundle.not_covered}")
    return bundle


@cache
def _warn_once(text: str) -> None:
    """Log what a bundle does not cover, once however often it is opened."""
    import logging  # here alone, as it is seldom needed

    logging.getLogger("edgekit").warning(text)


def _check_files(folder: Path, manifest: Manifest) -> None:
    if sum(asset.size for asset in manifest.assets.values()) > LARGEST_BUNDLE:
        raise BadInput(f"assets of more than {LARGEST_BUNDLE:,} bytes, which no bundle has", where=str(folder / MANIFEST))
    faults = []
    there, named = {entry.name for entry in folder.iterdir()}, set(manifest.files)
    faults += [f"{name}: missing" for name in sorted(named - there)]
    faults += [f"{name}: not in the manifest" for name in sorted(there - named)]
    for name, asset in manifest.assets.items():
        path = folder / name
        if name not in there:
            continue
        if path.is_symlink() or not path.is_file() or path.stat().st_nlink > 1:
            faults.append(f"{name}: not a plain file of its own")
            continue
        size = path.stat().st_size
        if size != asset.size:
            faults.append(f"{name}: {size} bytes instead of {asset.size}")
            continue
        with open_file(path, asset.size) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != asset.sha256:
            faults.append(f"{name}: sha256 {digest[:16]}… instead of {asset.sha256[:16]}…")
    if faults:
        raise CheckFailed(
            "files are not what the manifest says",
            where=str(folder),
            faults=faults,
            fix="fetch the bundle again",
            see="files-are-not-what-the-manifest-says",
        )


def _check_labels(folder: Path, manifest: Manifest, config: Config) -> None:
    """The manifest's names of the outputs are the configuration's; a task whose outputs have no names says nothing of them."""
    if not manifest.labels or config.labels is None or manifest.labels == config.labels:
        return
    pairs = zip_longest(manifest.labels, config.labels)
    faults = [f"output {number}: {one!r} here, {other!r} there" for number, (one, other) in enumerate(pairs) if one != other]
    raise CheckFailed(
        f"its labels are not those of {CONFIG}", where=str(folder / MANIFEST), faults=faults[:5], fix="fetch the bundle again"
    )


class _Unpacked:
    """A bundle archive unpacked into a temporary folder, which goes when this object does."""

    def __init__(self, archive: Path) -> None:
        from edgekit.runtime.bundle.unpack import unpack  # here alone, as folders need none of it
        from edgekit.runtime.temporary import new_folder, remove_folder

        root = new_folder(archive)
        at_exit_here(self, remove_folder, root)
        self.folder = root / "bundle"
        self.folder.mkdir()
        unpack(archive, self.folder)
