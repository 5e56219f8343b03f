"""Everything to ship of one result: written into a folder of its own, whole or not at all.

    artifacts/
        bundle/  bundle.tar.gz  runner.pyz      the model, as a folder and as one file, and what runs it
        README.md  bom.cdx.json                 the model card and the CycloneDX bill of materials
        oci/  wheelhouse/  web/  ort/ …         where asked for: image layout, wheels, a page, layouts of other runtimes
        SHA256SUMS                              of every file above; `sha256sum -c SHA256SUMS`. bundle/manifest.json's is the bundle's digest
        bundle.sig  SHA256SUMS.sig              where a key was given

All but signatures and wheels is the same, byte for byte, whenever it is made from the same bundle by the same edgekit and zlib;
of wheels only the runtime's own three are pinned, their needs are what the registry has that day.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import BadInput
from edgekit.pack.archive import write_archive
from edgekit.pack.bom import write_bom
from edgekit.pack.layouts import find_layouts, write_layouts
from edgekit.pack.oci import write_layout
from edgekit.pack.runner import write_runner
from edgekit.pack.sign import check_key, sign
from edgekit.pack.wheelhouse import check_wheelhouse, write_wheelhouse
from edgekit.runtime.bundle.names import MANIFEST, SIGNATURE
from edgekit.runtime.bundle.open import Bundle, open_bundle, undisturbed
from edgekit.runtime.files import read_utf8
from edgekit.runtime.outputs import check_output_folder, put_in_place
from edgekit.runtime.temporary import held_folder, remove_folder, sweep
from edgekit.web.page import write_page

__all__ = ["Artifacts", "make_artifacts"]

FOLDER, SUMS = "artifacts", "SHA256SUMS"
LARGEST_SUMS = 4_000_000
"""Bytes of SHA256SUMS at most."""


@dataclass(frozen=True)
class Artifacts:
    """A finished folder: of each file its path below the folder, its bytes and its sha256."""

    folder: Path
    files: tuple[tuple[str, int, str], ...]
    oci_digest: str | None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        files = [{"name": name, "size": size, "sha256": digest} for name, size, digest in self.files]
        return {"folder": str(self.folder), "files": files, "oci_digest": self.oci_digest}

    def shown(self) -> list[Any]:
        """A table for people; an image layout's and a wheelhouse's files are one line each, SHA256SUMS has them all."""
        from rich.table import Table

        table = Table(title=str(self.folder), title_justify="left")
        table.add_column("file", overflow="fold")
        table.add_column("bytes", justify="right")
        table.add_column("sha256", overflow="fold")
        many: dict[str, list[int]] = {}
        for name, size, digest in self.files:
            top = name.partition("/")[0]
            if top in {"oci", "wheelhouse"}:
                many.setdefault(top, []).append(size)
            else:
                table.add_row(name, f"{size:,}", digest)
        for top, sizes in many.items():
            whole = f"manifest {self.oci_digest}" if top == "oci" else f"{len(sizes) - 1} wheels and requirements.txt"
            table.add_row(f"{top}/", f"{sum(sizes):,}", whole)
        return [table]


def make_artifacts(
    result: Path, *, oci: bool = False, key: Path | None = None, wheelhouse: str | None = None, layouts: Sequence[str] = (),
    web: bool = False, say: Callable[[str], None] = lambda _: None,
) -> Artifacts:  # fmt: skip
    """Write `result`/artifacts from `result`/bundle, replacing what an earlier call wrote there.

    `oci` adds an image layout, `key` (a private key file) signatures, `wheelhouse` (the device's Python version) wheels, `layouts` (names) the
    model as other runtimes load it, `web` a static folder that answers in a browser.

    Raises:
        BadInput: no sound bundle in `result`, a key or version that cannot be used, a layout that there is not or that cannot hold the model,
            or files in `result`/artifacts that no call wrote.
        CheckFailed: the bundle is not what its manifest says.
        NotPossibleHere: a library is missing, npm does not give what the page needs, or there are no wheels for the target.
    """
    if not (result / "bundle" / MANIFEST).is_file():
        raise BadInput(
            "no result folder (no bundle/manifest.json)", where=str(result), fix="name a folder that `edgekit export` made"
        )
    check_output_folder(result / FOLDER, "artifacts")
    _check_nobody_elses(result / FOLDER)
    bundle = open_bundle(result / "bundle")
    manifest = bundle.manifest
    if key is not None:
        check_key(key)
    if wheelhouse is not None:
        check_wheelhouse(wheelhouse, manifest.target.arch, manifest.target.provider)
    chosen = find_layouts(layouts, bundle)
    if web and manifest.reads != "text":
        raise BadInput(f"browsers read no {manifest.reads}s yet", where="--web", fix="leave it out")
    sweep(result, f".{FOLDER}.*")  # what a killed call left
    work = held_folder(result, f".{FOLDER}.", ".tmp")
    work.chmod(0o755)
    try:
        bundle = undisturbed(result / "bundle", lambda: _copied(result / "bundle", work / "bundle"))
        write_archive(work / "bundle", work / "bundle.tar.gz")
        write_runner(work / "runner.pyz")
        if (work / "bundle" / "README.md").is_file():
            shutil.copyfile(work / "bundle" / "README.md", work / "README.md")
        write_bom(bundle, work / "bom.cdx.json", epoch=os.environ.get("SOURCE_DATE_EPOCH"))
        write_layouts(chosen, bundle, work)
        if web:
            (work / "web").mkdir()
            write_page(bundle, work / "web")
        digest = None
        if oci:
            names = [name for name in _names(work) if name != "bundle.tar.gz"]
            facts = {
                "org.opencontainers.image.licenses": manifest.licence,
                "org.opencontainers.image.version": bundle.digest[:16],
            }
            digest = write_layout(work, names, work / "oci", name=manifest.name, annotations=facts)
        if wheelhouse is not None:
            say(f"fetching wheels for Python {wheelhouse} on {manifest.target.arch}")
            write_wheelhouse(
                work / "wheelhouse",
                python=wheelhouse,
                arch=manifest.target.arch,
                versions=manifest.tools,
                chat=manifest.has_template,
                image=manifest.image is not None,
                sound=manifest.sound is not None,
            )
        sums = "".join(f"{_sha256(work / name)}  {name}\n" for name in _names(work))
        (work / SUMS).write_text(sums, encoding="utf-8")
        if key is not None:
            sign(work / "bundle", key, work / SIGNATURE)
            sign(work / SUMS, key, work / f"{SUMS}.sig")
        files = tuple((name, (work / name).stat().st_size, _sha256(work / name)) for name in _names(work))
        put_in_place(work, result / FOLDER)
    finally:
        remove_folder(work)
    return Artifacts(result / FOLDER, files, digest)


def _copied(source: Path, folder: Path) -> Bundle:
    """The bundle in `source`, opened as a copy: what is shipped is what was read."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    return open_bundle(folder)


def _check_nobody_elses(folder: Path) -> None:
    """Refuse to replace files that no earlier call wrote, such as the key that signs, kept where its signatures are."""
    if not folder.is_dir():
        return
    sums = folder / SUMS
    lines = read_utf8(sums, LARGEST_SUMS).splitlines() if sums.exists() else []
    ours = {SUMS, f"{SUMS}.sig", SIGNATURE, *(line[66:] for line in lines)}  # 64 hex digits and two spaces come before a name
    if others := [name for name in _names(folder) if name not in ours]:
        raise BadInput(
            "holds files that no earlier call of artifacts wrote, and it is replaced as a whole", where=str(folder), faults=others,
            fix="move them to another folder; where they are not needed, delete them",
        )  # fmt: skip


def _names(folder: Path) -> list[str]:
    """Every file below `folder`, by its path from there, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
