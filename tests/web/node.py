"""Node and the libraries that the runner loads: found, never fetched, by tests that every change must pass."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgekit.runtime.bundle.names import MANIFEST_DIGEST
from edgekit.web.vendor import is_there, runner_folder, vendor_folder
from tests.tiny_manifest import rewrite_manifest

__all__ = ["HERE", "node", "ran", "released"]

HERE = Path(__file__).resolve().parent
RELEASE = HERE.parent / "releases" / "0.1.0"


def released(name: str, folder: Path) -> Path:
    """A bundle of an earlier release in `folder`, with the digest of its manifest that bundles have since."""
    with tarfile.open(RELEASE / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    rewrite_manifest(folder / "bundle", lambda document: document["edgekit"].update(digest_file=MANIFEST_DIGEST))
    return folder / "bundle"


def node() -> str:
    """Node; the test is skipped where it, or what the runner loads, is not here."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node here")
    if not is_there(vendor_folder()):
        pytest.skip("what the runner loads from npm is not here; `make test-web` fetches it")
    return found


def ran(script: str, job: Any, folder: Path, arguments: Sequence[str] = ()) -> Any:
    """What `script`, a module of this folder, makes of `job`; both as JSON."""
    program = node()
    (folder / "job.json").write_text(
        json.dumps({**job, "runner": str(runner_folder()), "vendor": str(vendor_folder())}), encoding="utf-8"
    )
    done = subprocess.run(
        [program, *arguments, str(HERE / script), str(folder / "job.json"), str(folder / "done.json")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "done.json").read_text(encoding="utf-8"))
