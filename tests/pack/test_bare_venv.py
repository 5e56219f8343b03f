"""The runner in a virtual environment that holds numpy, onnxruntime and tokenizers and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.pack.archive import write_archive
from edgekit.pack.runner import write_runner


@pytest.mark.slow
def test_the_runner_in_a_bare_environment(bundle: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "numpy", "onnxruntime"], check=True)
    subprocess.run([*pip, "--no-deps", "tokenizers"], check=True)
    write_archive(bundle, tmp_path / "bundle.tar.gz")
    write_runner(tmp_path / "runner.pyz")
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    def runner(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(venv / "bin" / "python"), str(tmp_path / "runner.pyz"), *arguments, "--json"]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=clean)

    short = ["bench", "bundle.tar.gz", "--processes", "2", "--seconds", "0.2"]
    for arguments in (["verify", "bundle.tar.gz"], ["run", "bundle.tar.gz", "paint the hall blue"], short):
        done = runner(*arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
    assert json.loads(runner("run", "bundle.tar.gz", "paint the hall blue").stdout)[0]["label"] == "paint"
