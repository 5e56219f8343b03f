"""What leaves this machine: wheels for a device without a network, and a push to a real registry."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.pack.artifacts import make_artifacts

pytestmark = pytest.mark.slow


@pytest.fixture
def result(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "result" / "bundle")
    return tmp_path / "result"


def test_a_bare_environment_without_a_network(result: Path, tmp_path: Path) -> None:
    made = make_artifacts(result, wheelhouse=f"{sys.version_info.major}.{sys.version_info.minor}")
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=made.folder, check=True)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    away = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull, "OMP_NUM_THREADS": "1"}
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--find-links", "wheelhouse",
               "--require-hashes", "-r", "wheelhouse/requirements.txt"]  # fmt: skip
    wheel = next((made.folder / "wheelhouse").glob("flatbuffers-*.whl"))
    data = wheel.read_bytes()
    wheel.write_bytes(data + b"\0")
    refused = subprocess.run(install, cwd=made.folder, env=away, capture_output=True, text=True, check=False)
    assert refused.returncode and "DO NOT MATCH THE HASHES" in refused.stderr
    wheel.write_bytes(data)
    subprocess.run(install, cwd=made.folder, env=away, check=True)
    subprocess.run([python, "-m", "pip", "check", "--disable-pip-version-check"], env=away, check=True)
    done = subprocess.run([python, "runner.pyz", "verify", "bundle.tar.gz", "--json"], cwd=made.folder, env=away, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0 and json.loads(done.stdout)["ok"], done.stderr


def test_wheels_for_another_processor(result: Path, tmp_path: Path) -> None:
    from edgekit.pack.wheelhouse import write_wheelhouse

    write_wheelhouse(tmp_path / "wheels", python="3.12", arch="aarch64", versions={})
    native = [wheel.name for wheel in (tmp_path / "wheels").glob("*.whl") if not wheel.stem.endswith("any")]
    assert all(name.endswith("aarch64.whl") for name in native)
    assert {"numpy", "onnxruntime", "tokenizers"} <= {name.partition("-")[0] for name in native}


def test_versions_that_do_not_exist(tmp_path: Path) -> None:
    from edgekit.pack.wheelhouse import write_wheelhouse
    from edgekit.runtime.errors import BadInput

    with pytest.raises(BadInput, match="no wheels for Python"):
        write_wheelhouse(tmp_path / "wheels", python="3.12", arch="aarch64", versions={"tokenizers": "999.0"})


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry on loopback, from Debian's docker-registry package."""
    program = shutil.which("docker-registry")
    if program is None or shutil.which("skopeo") is None:
        pytest.skip("docker-registry or skopeo is not installed (apt-get install docker-registry skopeo)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "registry").mkdir()
    settings = {"version": 0.1, "log": {"level": "error"}, "http": {"addr": address},
                "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}}}  # fmt: skip
    (tmp_path / "registry.yml").write_text(json.dumps(settings))
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(tmp_path / "registry.yml")], stdout=log, stderr=log)
    try:
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"http://{address}/v2/", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail((tmp_path / "registry.log").read_text())
        yield address
    finally:
        process.terminate()
        process.wait()


def test_a_push_to_a_registry_and_back(result: Path, registry: str, tmp_path: Path) -> None:
    made = make_artifacts(result, oci=True)
    layout, there = f"oci:{made.folder / 'oci'}:tiny-here", f"docker://{registry}/edge/tiny:1"

    def skopeo(*arguments: str) -> bytes:
        done = subprocess.run(["skopeo", *arguments], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    raw = skopeo("inspect", "--raw", layout)
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == made.oci_digest
    skopeo("copy", "--dest-tls-verify=false", layout, there)
    assert skopeo("inspect", "--raw", "--tls-verify=false", there) == raw, "the registry calls it what the layout does"
    skopeo("copy", "--src-tls-verify=false", there, f"oci:{tmp_path / 'back'}:x")
    for layer in json.loads(raw)["layers"]:
        name, digest = layer["annotations"]["org.opencontainers.image.title"], layer["digest"].removeprefix("sha256:")
        assert (tmp_path / "back" / "blobs" / "sha256" / digest).read_bytes() == (made.folder / name).read_bytes()
