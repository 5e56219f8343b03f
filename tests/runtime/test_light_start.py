"""Loading a bundle imports what that takes, and nothing that other commands take: each costs milliseconds in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.runtime.bundle import golden, graph, tokenizer_file
from edgekit.runtime.bundle.known import KNOWN
from edgekit.runtime.model import load
from tests.conftest import PYTHONPATH
from tests.device.loopback import make_bundle

SELDOM = (
    "argparse", "concurrent.futures", "csv", "edgekit.runtime.bundle.golden", "edgekit.runtime.bundle.graph", "edgekit.runtime.bundle.onnx_file",
    "edgekit.runtime.bundle.tokenizer_file", "edgekit.runtime.bundle.trials", "edgekit.runtime.bundle.unpack", "edgekit.runtime.children",
    "edgekit.runtime.providers.cuda", "edgekit.runtime.temporary", "email", "importlib.metadata", "logging", "queue", "socket", "statistics",
    "subprocess", "tarfile", "zipfile",
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


def test_what_was_found_out_of_a_bundle_is_found_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are parsed at the first load, and of another bundle with other bytes again, but not at the second load of the same."""
    monkeypatch.setenv(KNOWN, str(tmp_path / "known"))
    read: list[str] = []
    for module, name in ((golden, "parse_golden"), (graph, "check_graph_file"), (tokenizer_file, "check_tokenizer_file")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, name=name, real=real: (read.append(name), real(*given)))
    first = make_bundle(tmp_path / "bundle")
    joined = load(first).joined is not None
    assert sorted(read) == ["check_graph_file", "check_tokenizer_file", "parse_golden"]
    assert (load(first).joined is not None) == joined
    assert len(read) == 3
    load(make_bundle(tmp_path / "other", least="1.31"))
    assert len(read) == 6
