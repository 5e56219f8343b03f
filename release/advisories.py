"""Known advisories: `python -m release.advisories` asks for what is pinned, and for the floors in pyproject.toml, which are the oldest
releases that edgekit says it works with. Exit 1 where one is under an advisory that is not in `ACCEPTED`, 0 where the source is out of
reach, which is said: nothing was checked then.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from typing import Any

from release.lock import CONSTRAINTS, ROOT, normal, pinned

__all__ = ["ACCEPTED", "floors", "main"]

ACCEPTED = {
    ("torch", "2.13.0"): "archives of PT2 (torch.export): no path reads one, as tests/models/test_no_archives.py shows",
}
"""(package, version) -> why an advisory of it does not apply here."""
SECONDS = 600
OUT_OF_REACH = ("ConnectionError", "Failed to establish a new connection", "Max retries", "NameResolutionError", "Temporary failure", "timed out",
                "ServiceError", "404 Client Error", "403 Client Error", "No module named pip_audit")  # fmt: skip


def floors(project: dict[str, Any]) -> dict[str, str]:
    """Package -> the oldest version that a dependency with a lower bound allows."""
    found: dict[str, str] = {}
    for listed in [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]:
        for line in listed:
            if (bound := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(?:>=|==)\s*([0-9][^\s,;]*)", line)) is not None:
                found[normal(bound[1])] = bound[2]
    return found


def audited(packages: dict[str, str]) -> tuple[list[str], str | None]:
    """(advisories of these releases, why nothing could be asked or None)."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{name}=={version}\n" for name, version in sorted(packages.items())))
        file.flush()
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--no-deps",
            "--disable-pip",
            "--progress-spinner",
            "off",
            "--format",
            "json",
            "-r",
            file.name,
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return [], f"no answer within {SECONDS} s"
    try:
        answered = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if any(words in done.stderr for words in OUT_OF_REACH):
            return [], done.stderr.strip().splitlines()[-1][:200]
        raise SystemExit(f"pip-audit failed:\n{done.stderr}") from None
    faults, unknown = [], [f"{item['name']}: {item['skip_reason']}" for item in answered if "skip_reason" in item]
    for item in answered:
        if (normal(item["name"]), item.get("version")) not in ACCEPTED:
            release = f"{item['name']} {item.get('version')}"
            faults += [
                f"{release}: {one['id']}, mended in {', '.join(one['fix_versions']) or 'no release'}"
                for one in item.get("vulns", ())
            ]
    return faults, f"no answer for {len(unknown)} of {len(answered)} packages: {unknown[0][:150]}" if unknown else None


def main() -> int:
    """Ask for both lists, and say what was found and what was not asked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = False
    first = dict(sorted(pinned(CONSTRAINTS.read_text(encoding="utf-8")).items())[:1])
    if (unasked := audited(first)[1]) is not None:  # one question tells whether more have a point
        print(f"NOT CHECKED against advisories, whose source is out of reach: {unasked}")
        return 0
    for what, packages in (
        ("pinned releases", pinned(CONSTRAINTS.read_text(encoding="utf-8"))),
        ("floors of pyproject.toml", floors(project)),
    ):
        faults, unasked = audited(packages)
        for fault in faults:
            print(f"{what}: {fault}")
        if unasked is not None:
            print(f"{what}: NOT CHECKED against advisories: {unasked}")
        elif not faults:
            print(f"{what}: {len(packages)} packages, none under an advisory that applies")
        found = found or bool(faults)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
