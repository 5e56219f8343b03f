"""Loading a bundle imports what that takes, and nothing that other commands take: each costs milliseconds in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.runtime.bundle.known import KNOWN
from edgekit.runtime.model import load
from tests.conftest import PYTHONPATH
from tests.device.loopback import make_bundle

SELDOM = (
    "argparse", "concurrent.futures", "csv", "edgekit.runtime.bundle.tokenizer_file", "edgekit.runtime.children", "email", "importlib.metadata",
    "logging", "socket", "statistics", "subprocess", "zipfile",
)  # fmt: skip


def test_a_known_bundle_is_loaded_without_what_is_seldom_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KNOWN, str(tmp_path / "known"))
    bundle = make_bundle(tmp_path / "bundle")
    load(bundle)
    code = (
        "import sys\nimport edgekit.runtime.model\nown = set(sys.modules)\nedgekit.runtime.model.load(sys.argv[1])\n"
        "print([name for name in sys.argv[2].split() if name in own or name in sys.modules and name.startswith('edgekit')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle), " ".join(SELDOM)], env={**os.environ, "PYTHONPATH": PYTHONPATH}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"
