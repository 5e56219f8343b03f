"""constraints.lock: the sha256 of every file that a pinned package has. `make setup` installs nothing of them that has another.

    python release/lock.py plan.json      # pip's report of what it would install -> requirements with hashes, for `pip install --require-hashes`

Standard library only: it runs before anything is installed. `make lock` writes constraints.lock from constraints.txt.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

__all__ = ["main", "pinned", "read_lock", "requirements"]

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS, LOCK = ROOT / "constraints.txt", ROOT / "constraints.lock"


def normal(name: str) -> str:
    """A package's name as registries compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(text: str) -> dict[str, str]:
    """Package -> version, of the lines NAME==VERSION."""
    return {normal(name): version for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, flags=re.M)}


def read_lock(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Package -> (version, sha256 of each of its files)."""
    found = {}
    for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M):
        if (head := re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry)) is not None:
            found[normal(head[1])] = (head[2], frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)))
    return found


def requirements(report: dict[str, Any], lock: dict[str, tuple[str, frozenset[str]]]) -> tuple[list[str], list[str], list[str]]:
    """(a line with the hash of each file that pip would install, what is not pinned, what is not the file that was pinned)."""
    lines: list[str] = []
    loose: list[str] = []
    wrong: list[str] = []
    for item in report["install"]:
        if "dir_info" in item["download_info"]:  # edgekit itself
            continue
        name, version = normal(item["metadata"]["name"]), item["metadata"]["version"]
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        wanted, known = lock.get(name, (None, frozenset()))
        if digest not in known:
            # A build of its own, such as torch's without CUDA, is offered by the machine's own configuration.
            (wrong if version == wanted else loose).append(f"{name}=={version}: sha256 {digest}")
        lines.append(f"{name}=={version} --hash=sha256:{digest}")
    return lines, loose, wrong


def main(arguments: list[str]) -> int:
    """Print the requirements; exit 1 where a file is another than the one that was pinned."""
    report = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    lines, loose, wrong = requirements(report, read_lock(LOCK.read_text(encoding="utf-8")))
    for entry in loose:
        print(f"not in constraints.lock, taken as it is: {entry}", file=sys.stderr)
    for entry in wrong:
        print(f"not a file of this release when it was pinned: {entry}", file=sys.stderr)
    if wrong:
        print("fix: find out who changed it; if it is right, `make lock` writes constraints.lock again", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
