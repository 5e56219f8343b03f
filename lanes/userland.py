"""What a lane runs on: qemu-user as static binaries, and an aarch64 Python with numpy, onnxruntime, tokenizers and Pillow.

Both lie below `build/lanes/`. A folder there is whole or absent: it is filled under another name, its record is written last, and
one rename brings it in place. The record names every package with its sha256; another wish makes another folder.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edgekit.errors import NotPossibleHere
from lanes import apt
from lanes.sources import archive, release, system_entries

__all__ = ["Place", "arm_root", "emulators"]

Say = Callable[[str], None]
QEMU_SUITE = "trixie"
"""qemu-user 10; Debian 12's 7.2 dies of a segmentation fault in ONNX Runtime from 1.28."""
QEMU = ("qemu-aarch64", "qemu-x86_64")
ARM_SUITE = "bookworm"
ARM_PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6")
WHEELS = ("numpy", "onnxruntime", "tokenizers", "pillow")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
RECORD = "record.json"


@dataclass(frozen=True)
class Place:
    """A whole folder and what lies in it."""

    path: Path
    record: dict[str, Any]
    """`wish`, what was asked for; `packages`, each with version and sha256."""


def emulators(lanes: Path, say: Say) -> Place:
    """The folder of qemu-aarch64 and qemu-x86_64.

    Raises:
        NotPossibleHere: not x86-64 Debian, or the packages cannot be had.
    """

    def fill(folder: Path, scratch: Path) -> list[dict[str, str]]:
        packages = [
            path for path in _debs(scratch, QEMU_SUITE, "amd64", ("qemu-user",), say) if path.name.startswith("qemu-user_")
        ]
        apt.unpack(packages[0], scratch / "unpacked")
        for name in QEMU:
            shutil.move(scratch / "unpacked/usr/bin" / name, folder / name)
        return [apt.facts(path) for path in packages]

    return _place(lanes / "qemu", {"suite": QEMU_SUITE, "programs": list(QEMU)}, fill, say)


def arm_root(lanes: Path, say: Say) -> Place:
    """The folder with an aarch64 Debian root (`root/`) and the device's packages (`site/`), in this environment's versions.

    Raises:
        NotPossibleHere: not x86-64 Debian, or packages or wheels cannot be had.
    """
    wheels = [f"{name}=={metadata.version(name)}" for name in WHEELS]

    def fill(folder: Path, scratch: Path) -> list[dict[str, str]]:
        packages = _debs(scratch, ARM_SUITE, "arm64", ARM_PACKAGES, say)
        for path in packages:
            apt.unpack(path, folder / "root")
        say(f"fetching {', '.join(wheels)} for aarch64")
        for verb, where in (("download", "--dest"), ("install", "--target")):
            source = (
                ["--no-index", "--find-links", str(scratch / "wheels")]
                if verb == "install"
                else ["--timeout", "30", "--retries", "3"]
            )
            options = [
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--only-binary=:all:",
                "--python-version",
                "3.11",
                "--implementation",
                "cp",
            ]
            platforms = [word for name in PLATFORMS for word in ("--platform", name)]
            place = scratch / "wheels" if verb == "download" else folder / "site"
            apt.run([sys.executable, "-m", "pip", verb, *options, *platforms, *source, where, str(place), *wheels])
        return [apt.facts(path) for path in packages] + [_wheel(path) for path in sorted((scratch / "wheels").glob("*.whl"))]

    return _place(lanes / "aarch64", {"suite": ARM_SUITE, "packages": list(ARM_PACKAGES), "wheels": wheels}, fill, say)


def _place(path: Path, wish: dict[str, Any], fill: Callable[[Path, Path], list[dict[str, str]]], say: Say) -> Place:
    """The folder at `path` as `wish` has it: the one that is there, or a new one."""
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        if record["wish"] == wish:
            return Place(path, record)
    except (OSError, ValueError, KeyError):
        pass
    fresh, scratch = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.fetched")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    scratch.mkdir(exist_ok=True)
    record = {"wish": wish, "packages": fill(fresh, scratch)}
    (fresh / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(path, ignore_errors=True)
    os.replace(fresh, path)
    shutil.rmtree(scratch)
    say(f"{path.name} is ready: {len(record['packages'])} packages")
    return Place(path, record)


def _debs(scratch: Path, suite: str, architecture: str, packages: tuple[str, ...], say: Say) -> list[Path]:
    system = release(_text(Path("/etc/os-release")))
    if platform.machine() != "x86_64" or system.get("ID") != "debian":
        here = f"{system.get('PRETTY_NAME', platform.system())} on {platform.machine()}"
        raise NotPossibleHere(f"packages are fetched on x86-64 Debian; this is {here}", where="lanes")
    entry = archive(system_entries(), system.get("VERSION_CODENAME", ""), suite)
    say(f"fetching {', '.join(packages)} of Debian {suite} for {architecture}")
    return apt.download(scratch / "apt", entry, architecture, packages)


def _wheel(path: Path) -> dict[str, str]:
    name, version, *_, tag = path.stem.split("-")
    return {"package": name, "version": version, "architecture": tag, "sha256": apt.sha256(path)}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
