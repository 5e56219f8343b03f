"""A static folder that answers with a bundle in a browser: a page, the runner, what it loads, and the bundle; without a network once it was loaded.

index.html  page.css  page.mjs  icon.svg    the page
worker.js                                   the service worker, with the sha256 of every file that it keeps
runner/  runner/vendor/  bundle/            the runner's modules, ONNX Runtime and the tokenizers library, and the bundle
_headers                                    what a host should send, in the form that several static hosts read
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path

from edgekit.runtime.bundle.open import Bundle
from edgekit.web.vendor import MODULES, fetch_vendor, needed_files, runner_folder

__all__ = ["HEADERS", "PAGE", "write_page"]

PAGE = ("index.html", "page.css", "page.mjs", "icon.svg")
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""The first two isolate a page, which threads need; without them it has one thread until the service worker runs."""


def write_page(bundle: Bundle, folder: Path) -> None:
    """Write the page of `bundle` into the empty `folder`.

    Raises:
        NotPossibleHere, CheckFailed: as `fetch_vendor`.
    """
    vendor = fetch_vendor()
    source = runner_folder()
    for name in ("runner", "runner/vendor", "bundle"):
        (folder / name).mkdir()
    for name in PAGE:
        shutil.copyfile(source / "page" / name, folder / name)
    for name in MODULES:
        shutil.copyfile(source / name, folder / "runner" / name)
    for name in needed_files(chat=bundle.manifest.has_template):
        shutil.copyfile(vendor / name, folder / "runner" / "vendor" / name)
    for name in bundle.manifest.files:
        shutil.copyfile(bundle.folder / name, folder / "bundle" / name)
    kept = {
        name: _integrity(folder / name)
        for name in sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    }
    files = json.dumps(kept, indent=2)
    version = hashlib.sha256(files.encode()).hexdigest()[:16]
    worker = (source / "page" / "worker.js").read_text(encoding="utf-8")
    (folder / "worker.js").write_text(
        worker.replace("const FILES = {};", f"const FILES = {files};").replace("@VERSION@", version), encoding="utf-8"
    )
    (folder / "_headers").write_text(
        "/*\n" + "".join(f"  {name}: {value}\n" for name, value in HEADERS.items()), encoding="utf-8"
    )


def _integrity(path: Path) -> str:
    """The sha256 of a file as browsers want it."""
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode("ascii")
