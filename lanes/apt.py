"""Debian packages of any release and architecture, fetched by the system's own apt and unpacked beside the system.

apt gets lists, caches and a package state of its own, below the lane's folder, and keeps of the system's configuration all but
the hooks: proxies, certificates, keys and logins work as they do for the system, which itself is not touched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import NotPossibleHere
from lanes.sources import Entry

__all__ = ["configuration", "download", "facts", "run", "sha256", "unpack"]

SECONDS = 120
"""A fetch that takes longer is given up; what has come so far is kept for the next try."""
HOOKS = ("Pre-Invoke", "Post-Invoke", "Pre-Install-Pkgs")
OWN = """
Dir::Etc::Parts "{place}/none";
Dir::Etc::Main "{place}/none.conf";
Dir::Etc::SourceList "{place}/entry.sources";
Dir::Etc::SourceParts "{place}/none";
Dir::Etc::Preferences "{place}/none.pref";
Dir::Etc::PreferencesParts "{place}/none";
Dir::State "{place}/state";
Dir::State::status "{place}/state/status";
Dir::Cache "{place}/cache";
Dir::Log "{place}/log";
APT::Architecture "{architecture}";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"""


def configuration(system: str, place: Path, architecture: str) -> str:
    """What apt reads instead of the system's files: `system` (what `apt-config dump` prints) without hooks, and a place of its own."""
    kept = [line for line in system.splitlines() if not any(hook in line for hook in HOOKS)]
    return "\n".join(kept) + OWN.format(place=place, architecture=architecture)


def download(place: Path, entry: Entry, architecture: str, packages: Sequence[str]) -> list[Path]:
    """Fetch `packages` and all that they depend on into `place`; returns the `.deb` files.

    apt checks each file against the archive's signed index. A download that was cut off goes on where it stopped.

    Raises:
        NotPossibleHere: no apt here, or the archive could not be reached in time.
    """
    place = place.resolve()
    for name in ("none", "log", "state/lists/partial", "cache/archives/partial"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "state/status").touch()
    (place / "entry.sources").write_text(entry.deb822(), encoding="utf-8")
    system = run(["apt-config", "dump"])
    (place / "apt.conf").write_text(configuration(system, place, architecture), encoding="utf-8")
    own = {"APT_CONFIG": str(place / "apt.conf")}
    run(["apt-get", "update", "--quiet", "--error-on=any"], own)
    run(["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", "--download-only", *packages], own)
    return sorted((place / "cache/archives").glob("*.deb"))


def facts(package: Path) -> dict[str, str]:
    """Name, version, architecture and sha256 of a `.deb`."""
    names = ("Package", "Version", "Architecture")
    shown = run(["dpkg-deb", "--showformat=" + "".join(f"${{{name}}}\\n" for name in names), "--show", str(package)])
    return {**dict(zip((name.lower() for name in names), shown.splitlines(), strict=True)), "sha256": sha256(package)}


def sha256(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(package: Path, root: Path) -> None:
    """Lay the files of a `.deb` below `root`; none of its scripts runs."""
    root.mkdir(parents=True, exist_ok=True)
    run(["dpkg-deb", "--extract", str(package), str(root)])


def run(command: Sequence[str], environment: dict[str, str] | None = None, seconds: float = SECONDS) -> str:
    """Standard output of a command that fetches or unpacks; with its children it ends with us, or after `seconds`.

    Raises:
        NotPossibleHere: the program is not here, failed, or took too long.
    """
    name = " ".join(command[:2])
    if shutil.which(command[0]) is None:
        raise NotPossibleHere(f"there is no {command[0]}", where="lanes", fix="run the lane on x86-64 Debian")
    process = subprocess.Popen(
        command, env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", **(environment or {})},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        shown, told = process.communicate(timeout=seconds)
    except BaseException as fault:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(fault, subprocess.TimeoutExpired):
            raise NotPossibleHere(
                f"`{name}` took more than {seconds:.0f} s", where="lanes", fix="try again; it goes on"
            ) from None
        raise
    if process.returncode:
        last = [line for line in (told or shown).splitlines() if line.strip()][-5:]
        raise NotPossibleHere(f"`{name}` failed with {process.returncode}", where="lanes", faults=last)
    return shown
