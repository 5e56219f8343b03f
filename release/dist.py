"""`make dist`: edgekit's own wheel and source archive, the same bytes from the same commit, with an attestation of what they are made of.

    dist/
        edgekit-VERSION-py3-none-any.whl   edgekit-VERSION.tar.gz
        provenance.json     an in-toto statement (v1) with SLSA's provenance (v1): sha256 of both, the commit, and the sha256 of
                            constraints.lock and of each package that took part in building
        SHA256SUMS          of the three; and signatures where a key is given

`python -m release.dist --check dist` compares the files with the statement.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from edgekit.errors import BadInput, CheckFailed, EdgekitError
from release.lock import LOCK, ROOT, normal

__all__ = ["check", "main", "make_dist", "statement"]

STATEMENT, SUMS = "provenance.json", "SHA256SUMS"
BUILD_TYPE, BUILDER = "urn:edgekit:make-dist:v1", "urn:edgekit:maintainer"
BACKEND = "hatchling"


def make_dist(out: Path, key: Path | None = None) -> list[Path]:
    """Build both files into the empty folder `out`, and write their statement, sums and, with `key`, signatures.

    Raises:
        BadInput: files that are not committed, `out` is not empty, or `key` cannot sign.
        CheckFailed: the build failed.
    """
    from edgekit.pack.sign import check_key, sign

    if key is not None:
        check_key(key)
    if changed := _git("status", "--porcelain"):
        raise BadInput(
            "files are not committed, so no commit says what was built",
            where=changed.splitlines()[0][3:],
            fix="commit, then make dist",
        )
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise BadInput("is not empty", where=str(out), fix="remove what an earlier build left there")
    commit, epoch = _git("rev-parse", "HEAD"), _git("show", "-s", "--format=%ct", "HEAD")
    done = subprocess.run(
        [sys.executable, "-m", BACKEND, "build", "-d", str(out.resolve())], cwd=ROOT, env={**os.environ, "SOURCE_DATE_EPOCH": epoch},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise CheckFailed(f"the build failed: {done.stderr.strip()[-1500:]}", fix="make setup installs what building needs")
    built = sorted(out.iterdir())
    document = statement(built, commit=commit, epoch=int(epoch))
    (out / STATEMENT).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (out / SUMS).write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in [*built, out / STATEMENT]), encoding="utf-8")
    if key is not None:
        sign(out / STATEMENT, key, out / f"{STATEMENT}.sig")
        sign(out / SUMS, key, out / f"{SUMS}.sig")
    return sorted(out.iterdir())


def statement(built: list[Path], *, commit: str, epoch: int) -> dict[str, Any]:
    """What was built, of what, and how. It holds no times of its own: the same commit gives the same statement."""
    source = {"name": "edgekit", "digest": {"gitCommit": commit}}
    lock = {"uri": LOCK.name, "digest": {"sha256": _sha256(LOCK)}}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": path.name, "digest": {"sha256": _sha256(path)}} for path in built],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"source": source, "command": "make dist"},
                "internalParameters": {"SOURCE_DATE_EPOCH": epoch, "python": platform.python_version()},
                "resolvedDependencies": [source, lock, *_tools()],
            },
            "runDetails": {"builder": {"id": BUILDER}},
        },
    }


def check(folder: Path) -> int:
    """How many files of `folder` are those that its statement names.

    Raises:
        BadInput: no such statement there.
        CheckFailed: a file is missing, was added, or is another one.
    """
    try:
        document = json.loads((folder / STATEMENT).read_text(encoding="utf-8"))
        named = {subject["name"]: subject["digest"]["sha256"] for subject in document["subject"]}
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise BadInput(f"no statement of a build: {fault}", where=str(folder / STATEMENT)) from None
    there = {path.name: _sha256(path) for path in folder.iterdir() if path.name.endswith((".whl", ".tar.gz"))}
    faults = [f"{name}: {'missing' if name not in there else 'not named' if name not in named else 'another file'}"
              for name in sorted({*named, *there}) if named.get(name) != there.get(name)]  # fmt: skip
    if faults:
        raise CheckFailed("not what was built", where=str(folder), faults=faults)
    return len(named)


def _tools() -> list[dict[str, Any]]:
    """The build backend and what it needs, by version, and by the sha256 of the file that was installed, where `make setup` noted it."""
    noted = ROOT / ".venv" / "requirements.txt"
    hashes = (
        dict(re.findall(r"^(\S+==\S+) --hash=sha256:([0-9a-f]{64})", noted.read_text(), flags=re.M)) if noted.is_file() else {}
    )
    found, left = {}, [BACKEND]
    while left:
        name = normal(left.pop())
        if name in found:
            continue
        version = metadata.version(name)
        digest = hashes.get(f"{name}=={version}")
        found[name] = {"uri": f"pkg:pypi/{name}@{version}", **({"digest": {"sha256": digest}} if digest else {})}
        needs = [line for line in metadata.requires(name) or () if ";" not in line]
        left += [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in needs]
    return [found[name] for name in sorted(found)]


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Build, or check what was built."""
    parser = argparse.ArgumentParser(
        prog="python -m release.dist", description="Build edgekit's own release, with an attestation, or check one."
    )
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "dist")
    parser.add_argument("--key", type=Path, help="a private key file that signs the statement and the sums")
    parser.add_argument("--check", action="store_true", help="compare the files with their statement")
    asked = parser.parse_args(arguments)
    try:
        if asked.check:
            print(f"{asked.folder}: {check(asked.folder)} files are those that were built")
        else:
            for path in make_dist(asked.folder, asked.key):
                print(f"{_sha256(path)}  {path}")
    except EdgekitError as fault:
        print(f"dist: {fault.text()}", file=sys.stderr)
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
