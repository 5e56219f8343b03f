"""An offline wheelhouse: what the runtime needs, for the target's processor, with a hash of each wheel.

On the device: `pip install --no-index --find-links wheelhouse --require-hashes -r wheelhouse/requirements.txt`.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from edgekit.errors import BadInput, NotPossibleHere
from edgekit.runtime.children import finish, start
from edgekit.runtime.generate.chat import JINJA
from edgekit.runtime.pixels import PILLOW
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.waveform import SOUND_LIBRARIES

__all__ = ["check_wheelhouse", "write_wheelhouse"]

PACKAGES = ("numpy", "onnxruntime", "tokenizers")
GLIBC = ("2_28", "2_27", "2_26", "2_24", "2_17")
"""Wheels for any of these run on glibc 2.28 and later (Debian 10, Ubuntu 20.04, RHEL 8, JetPack 5); pip wants each one named."""
SECONDS = 1800


def check_wheelhouse(python: str, arch: str, provider: str) -> None:
    """Refuse what cannot be fetched, before any work is done.

    Raises:
        BadInput: `python` is no version such as 3.11.
        NotPossibleHere: there are no wheels of this kind for the target.
    """
    if not re.fullmatch(r"3\.\d{1,2}", python):
        raise BadInput(f"{python!r} is no Python version", where="--wheelhouse", fix="give the device's, such as 3.11")
    if arch not in {"x86_64", "aarch64"} or provider != CPU:
        raise NotPossibleHere(
            f"no wheelhouse for {arch} with {provider}", where="--wheelhouse",
            fix="leave it out; install the onnxruntime that the device's maker offers",
        )  # fmt: skip


def write_wheelhouse(
    out: Path,
    *,
    python: str,
    arch: str,
    versions: Mapping[str, str],
    chat: bool = False,
    image: bool = False,
    sound: bool = False,
) -> int:
    """Fetch wheels of the runtime's packages and all they need into `out`, and write its requirements.txt with hashes.

    `versions` pins those packages it names: what the bundle was made and verified with. pip reads environment markers by the
    Python that runs it, so needs that differ between Python versions are this Python's. `chat`: what chat templates need too; `image`: what
    image files do; `sound`: what sound files do.
    Returns how many wheels there are.

    Raises:
        BadInput: a package has no wheel for this Python and processor, or the registry cannot be reached.
    """
    out.mkdir(parents=True)
    pins = [f"{package}=={versions[package]}" if package in versions else package for package in PACKAGES]
    pins += [JINJA] if chat else []
    pins += [PILLOW] if image else []
    pins += SOUND_LIBRARIES if sound else ()
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:",
        "--implementation", "cp", "--python-version", python, "--abi", f"cp{python.replace('.', '')}", "--abi", "abi3", "--abi", "none",
        *(part for glibc in GLIBC for part in ("--platform", f"manylinux_{glibc}_{arch}")),
        "--platform", f"manylinux2014_{arch}", "--dest", str(out), *pins,
    ]  # fmt: skip
    try:
        done = finish(start(command, stderr=subprocess.PIPE), SECONDS)
    except subprocess.TimeoutExpired:
        raise BadInput(f"pip was not done after {SECONDS} seconds", where="--wheelhouse") from None
    if done.code:
        lines = [line for line in done.errors.decode("utf-8", "replace").splitlines() if line.startswith("ERROR")]
        raise BadInput(
            f"pip found no wheels for Python {python} on {arch}", where="--wheelhouse", faults=lines[-5:],
            fix="check the network, or give another Python version",
        )  # fmt: skip
    wheels = sorted(out.glob("*.whl"))
    lines = ["# pip install --no-index --find-links wheelhouse --require-hashes -r wheelhouse/requirements.txt"]
    for wheel in wheels:
        package, version = wheel.name.split("-")[:2]
        with wheel.open("rb") as file:
            lines.append(
                f"{package.replace('_', '-')}=={version} --hash=sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            )
    (out / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(wheels)
