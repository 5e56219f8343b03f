"""The README's figures are those of the committed results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_tables_are_written_from_the_committed_results(tmp_path: Path) -> None:
    import shutil

    for name in ("README.md", "benchmarks/README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "benchmarks" / "results", tmp_path / "benchmarks" / "results")
    shutil.copy(ROOT / "benchmarks" / "publish.py", tmp_path / "benchmarks")
    subprocess.run([sys.executable, str(tmp_path / "benchmarks" / "publish.py")], check=True)
    for name in ("README.md", "benchmarks/README.md"):
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), f"run benchmarks/publish.py: {name} is out of date"


def test_results_name_their_command_and_no_path_of_a_machine() -> None:
    found = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    assert found
    for path in found:
        document = json.loads(path.read_text())
        assert document["command"].startswith("edgekit export ")
        assert document["bench"]["artifact_sha256"]
        assert str(ROOT) not in path.read_text() and "/home/" not in path.read_text()
        assert (path.with_suffix(".png")).is_file() or path.stem != "clinc150-x86-vnni"


def test_pictures_in_the_readme_exist() -> None:
    import re

    for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).is_file(), target
