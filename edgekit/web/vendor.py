"""The modules of the runner, and what it loads from npm's packages: ONNX Runtime, the tokenizers library and the one of chat templates, in the
releases of vendor.mjs."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from subprocess import PIPE, TimeoutExpired

from edgekit.errors import CheckFailed, NotPossibleHere
from edgekit.runtime.children import finish, start
from edgekit.runtime.files import cache_folder
from edgekit.runtime.outputs import put_in_place

__all__ = [
    "MODULES",
    "Vendored",
    "fetch_vendor",
    "is_there",
    "needed_files",
    "npm_install",
    "releases",
    "runner_folder",
    "vendor_folder",
    "vendored_files",
]

MODULES = (
    "runner.mjs",
    "model.mjs",
    "bench.mjs",
    "errors.mjs",
    "tasks.mjs",
    "generate.mjs",
    "chat.mjs",
    "tokenise.mjs",
    "text.mjs",
    "vendor.mjs",
    "runner.d.ts",
)
"""Files of the runner, which lie beside one another."""
MINUTES = 5
"""That npm may take."""


@dataclass(frozen=True)
class Vendored:
    """One file of an npm package."""

    package: str
    release: str
    path: str
    """Within the package."""
    sha256: str
    part: str | None = None
    """What it is for: "webgpu", or "chat" of bundles with a chat template; None: every bundle needs it."""


def runner_folder() -> Path:
    """Where the runner's modules lie."""
    return Path(__file__).resolve().parent


@cache
def vendored_files() -> dict[str, Vendored]:
    """All that the runner may load from elsewhere, by the file's name."""
    text = (runner_folder() / "vendor.mjs").read_text(encoding="utf-8")
    table = json.loads(text.partition("VENDOR =")[2].strip().removesuffix(";"))
    return {name: Vendored(**entry) for name, entry in table.items()}


def needed_files(*, chat: bool, webgpu: bool = False) -> list[str]:
    """Names of those that a page needs: of a bundle with a chat template (`chat`), and with WebGPU."""
    parts = {None, *(["chat"] if chat else []), *(["webgpu"] if webgpu else [])}
    return [name for name, one in vendored_files().items() if one.part in parts]


def releases() -> list[str]:
    """The packages as npm's command line names them: `name@release`."""
    return sorted({f"{one.package}@{one.release}" for one in vendored_files().values()})


def vendor_folder() -> Path:
    """Where this user's machine keeps them, in these releases: what the runner's option `vendor` takes."""
    key = hashlib.sha256("\n".join(one.sha256 for one in vendored_files().values()).encode()).hexdigest()
    return cache_folder() / "web" / key[:16]


def is_there(folder: Path) -> bool:
    """Whether every file lies in `folder`, and is the one that it must be."""
    return all((folder / name).is_file() and _sha256(folder / name) == one.sha256 for name, one in vendored_files().items())


def fetch_vendor() -> Path:
    """`vendor_folder`, filled by npm where it is not yet; nothing of the packages is run.

    Raises:
        NotPossibleHere: npm is not here, or does not get them.
        CheckFailed: it got another file than is pinned.
    """
    folder = vendor_folder()
    if is_there(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        work = Path(scratch)
        npm_install(work / "npm", releases())
        made = work / "made"
        made.mkdir()
        for name, one in vendored_files().items():
            shutil.copyfile(work / "npm" / "node_modules" / one.package / one.path, made / name)
        if not is_there(made):
            raise CheckFailed(
                "npm got other files than are pinned",
                where=", ".join(releases()),
                fix="see which registry npm asks (npm config get registry)",
            )
        put_in_place(made, folder)
    return folder


def npm_install(folder: Path, packages: Sequence[str]) -> None:
    """Put npm packages, named with their releases, into `folder`/node_modules; no script of theirs is run.

    Raises:
        NotPossibleHere: npm is not here, or does not get them.
    """
    npm, wanted = shutil.which("npm"), ", ".join(packages)
    if npm is None:
        raise NotPossibleHere(f"npm is not here, which gets {wanted}", fix="install Node 20 or later with npm")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    command = [
        npm,
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--save-exact",
        "--prefix",
        str(folder),
        *packages,
    ]
    try:
        ended = finish(start(command, stdout=PIPE, stderr=PIPE), seconds=60 * MINUTES)
    except TimeoutExpired:
        raise NotPossibleHere(f"npm does not get {wanted} within {MINUTES} minutes", fix="check the connection") from None
    if ended.code != 0:
        said = (ended.errors or ended.output).decode("utf-8", "replace").strip()
        raise NotPossibleHere(f"npm does not get {wanted}: {said[-300:]}", fix="check the connection, or npm's registry")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
