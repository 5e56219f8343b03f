"""`python -m tests.kills export tune artifacts device --kills 50`: each is killed with -9 at random moments and run again, and the result has to be
the same, byte for byte, as that of a run that nobody killed, with nothing left behind. The figures go to tests/kills/results.json.

A run is a process group of its own; the signal goes to all of it. The moment is drawn evenly over the time that an unkilled run takes.
After a kill the same run is started again on what the killed one left; it is let through where it is quicker than the next moment drawn.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kills import work

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Run:
    """Something that is killed."""

    prepare: Callable[[Path], None]
    """Make what it needs in an empty folder."""
    do: Callable[[Path], None]
    """The run itself, in that folder."""
    results: Callable[[Path], list[Path]]
    """The files that have to be the same, of a finished run."""
    left: Callable[[Path], list[Path]]
    """What a finished run must not leave, beside temporary folders."""


def runs() -> dict[str, Run]:
    """By name."""
    return {
        "export": Run(work.prepare_export, work.export, work.exported, work.left_by_export),
        "tune": Run(work.prepare_export, work.tune, work.tried, work.left_by_export),
        "artifacts": Run(work.prepare_artifacts, work.artifacts, work.made_artifacts, work.left_by_artifacts),
        "device": Run(work.prepare_device, work.measure_on_device, work.measured, work.left_by_device),
    }


def digest(folder: Path, files: list[Path]) -> str:
    """Of names and contents."""
    lines = [f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sorted(files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def started(run: Run, folder: Path) -> int:
    """The run as a child with a process group, and a folder for temporary files, of its own."""
    child = os.fork()
    if child:
        with suppress(OSError):  # here as well, as it may be killed before it has done it by itself
            os.setpgid(child, child)
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        with (folder / "log").open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
        run.do(folder)
        code = 0
    except BaseException as fault:
        print(repr(fault), file=sys.stderr)
    finally:
        sys.stdout.flush()
        os._exit(code)


def killed(run: Run, folder: Path, seconds: float) -> bool:
    """Whether the run was killed after `seconds`; False where it had finished."""
    child = started(run, folder)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, (folder / "log").read_text()[-2000:]
            return False
        time.sleep(0.002)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def trial(name: str, run: Run, kills: int, seed: int, base: Path) -> dict[str, Any]:
    """`kills` kills, and as many whole runs as came between and after them."""
    chance = random.Random(f"{seed}/{name}")

    def fresh(number: int) -> Path:
        folder = base / f"{name}-{number}"
        (folder / "tmp").mkdir(parents=True)
        run.prepare(folder)
        return folder

    folder = fresh(0)
    began = time.monotonic()
    assert not killed(run, folder, 3600)
    took = time.monotonic() - began
    wanted = digest(folder, run.results(folder))
    shutil.rmtree(folder)
    done, finished, differing, littered, number = 0, 0, 0, 0, 1
    folder, fresh_kills, at = fresh(number), 0, []
    while done < kills or fresh_kills:
        moment = chance.uniform(0, took)
        if done < kills and killed(run, folder, moment):
            done, fresh_kills = done + 1, fresh_kills + 1
            at.append(round(moment, 3))
            if fresh_kills < 5:  # otherwise it is let through: five kills of one run, then another from nothing
                continue
        assert not killed(run, folder, 3600)
        finished += 1
        differing += digest(folder, run.results(folder)) != wanted
        temporary = [
            path for path in (folder / "tmp").iterdir() if not path.name.startswith("torchinductor")
        ]  # torch's own, kept for the next
        left = [*run.left(folder), *temporary]
        littered += bool(left)
        if left:
            print(f"{name}: left {left}", file=sys.stderr)
        shutil.rmtree(folder)
        number, fresh_kills = number + 1, 0
        if done < kills:
            folder = fresh(number)
    return {
        "kills": done,
        "moments_s": at,
        "unkilled_s": round(took, 2),
        "finished": finished,
        "other_bytes": differing,
        "left_something": littered,
    }


def main(arguments: list[str] | None = None) -> int:
    """Exit 1 where a result differs or something is left."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.kills", description="Kill runs at random moments and compare what comes of them."
    )
    parser.add_argument("runs", nargs="*", default=list(runs()))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--record", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    found = json.loads(asked.record.read_text()) if asked.record.is_file() else {}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    bad = 0
    for name in asked.runs:
        with tempfile.TemporaryDirectory(prefix="kills-") as base:
            result = trial(name, runs()[name], asked.kills, asked.seed, Path(base))
        command = f"python -m tests.kills {name} --kills {asked.kills} --seed {asked.seed}"
        found[name] = {"command": command, "commit": commit, "date": time.strftime("%Y-%m-%d"), **result}
        asked.record.write_text(json.dumps(found, indent=1) + "\n")
        print(json.dumps({name: {key: value for key, value in found[name].items() if key != "moments_s"}}))
        bad += result["other_bytes"] + result["left_something"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
