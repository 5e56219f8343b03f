"""`python -m tests.fuzz`: mutate files that edgekit reads, for some time, and count; see `make fuzz`. Exit 1 where something was found."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.fuzz.door import doors
from tests.fuzz.watch import Tally, fuzz

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Fuzz, print what was done as JSON, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Mutate files that edgekit reads, and see that each is refused or sound."
    )
    parser.add_argument("doors", nargs="*", help=f"of {', '.join(doors())}; default: all")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="default: another one each time; it is printed")
    parser.add_argument("--executions", type=int, help="of each door, at most")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz", help="where finds are written")
    parser.add_argument("--record", type=Path, help="a JSON file to which the figures of this run are added")
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.doors) - set(doors()))
    if unknown:
        parser.error(f"no door {', '.join(unknown)}")
    seed = int.from_bytes(os.urandom(4), "big") if asked.seed is None else asked.seed
    chosen = [door for name, door in doors().items() if not asked.doors or name in asked.doors]
    print(f"fuzzing {len(chosen)} doors for {asked.minutes:g} minutes; again: python -m tests.fuzz --seed {seed}", flush=True)
    began = time.monotonic()
    tallies = fuzz(chosen, seed, asked.minutes * 60, asked.out, most=asked.executions)
    record = figures(tallies, {door.name: door.whole for door in chosen}, seed, time.monotonic() - began, sys.argv[1:])
    if asked.record is not None:
        before = json.loads(asked.record.read_text()) if asked.record.is_file() else []
        asked.record.write_text(json.dumps([*before, record], indent=1) + "\n")
    print(json.dumps(record, indent=1))
    marks = [(name, mark, what) for name, tally in tallies.items() for mark, what in tally.marks.items()]
    for name, mark, what in marks:
        print(f"found at {name}: {mark}: {what[:200]}", file=sys.stderr)
    if marks:
        print(f"the inputs are in {asked.out}; mend the fault and move them to tests/fuzz/found/DOOR/", file=sys.stderr)
    return 1 if marks else 0


def figures(
    tallies: dict[str, Tally], wholes: dict[str, bool], seed: int, seconds: float, command: list[str]
) -> dict[str, Any]:
    """The document of one run."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()

    def total(name: str, whole: bool | None = None) -> int:
        return sum(getattr(tally, name) for door, tally in tallies.items() if whole is None or wholes[door] == whole)

    return {
        "command": " ".join(["python -m tests.fuzz", *command]), "seed": seed, "commit": commit, "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(), "seconds": round(seconds, 1), "mutations_of_parsers": total("executions", False),
        "mutations_of_bundles": total("executions", True), "crashes": total("crashes"), "hangs": total("hangs"),
        "different_finds": sum(len(tally.marks) for tally in tallies.values()),
        "doors": {
            name: {**asdict(tally), "seconds": round(tally.seconds, 1), "marks": sorted(tally.marks)}
            for name, tally in tallies.items()
        },
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
