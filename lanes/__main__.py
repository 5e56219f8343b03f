"""`python -m lanes arm64` and `python -m lanes avx2`.

Exit codes: 0 all as it should be, 1 something is not, 2 bad usage, 3 not possible on this machine (it says why), 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edgekit.errors import EdgekitError, Interrupted
from edgekit.progress import Show, err
from lanes import arm64, avx2, results
from lanes.bundles import real_bundles
from lanes.userland import arm_root, emulators

T = TypeVar("T")


class Clock:
    """Seconds of each step, and lines for the person who waits."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.seconds: dict[str, float] = {}

    def say(self, text: str) -> None:
        """A line with the seconds since the start."""
        err.print(f"  {time.monotonic() - self.begun:5.0f} s  {text}", soft_wrap=True, markup=False)

    def step(self, name: str, work: Callable[[], T]) -> T:
        """What `work` returns; its time is kept under `name`."""
        begun = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[name] = time.monotonic() - begun


def arm64_lane(build: Path, clock: Clock, *, real: bool) -> dict[str, Any]:
    """Bundles for 64-bit ARM on four CPUs."""
    lanes = build / "lanes"
    qemu, root = clock.step("fetch", lambda: (emulators(lanes, clock.say), arm_root(lanes, clock.say)))
    bundles = clock.step("bundles", lambda: arm64.make(lanes, Show()))
    if real:
        bundles |= clock.step("real bundles", lambda: real_bundles(build, arm64.TARGETS, Show()))
    runner = next(iter(bundles.values())) / "runner.pyz"
    every = arm64.cpus(qemu, root)
    found = clock.step("emulation", lambda: arm64.check_cpus(every, bundles, runner, clock.say))
    return results.document("arm64", found, clock.seconds, [qemu, root])


def avx2_lane(build: Path, clock: Clock, *, real: bool) -> dict[str, Any]:
    """Bundles for x86 without VNNI on a Haswell."""
    lanes = build / "lanes"
    qemu = clock.step("fetch", lambda: emulators(lanes, clock.say))
    bundles = clock.step("bundles", lambda: avx2.make(lanes, Show()))
    if real:
        bundles |= clock.step("real bundles", lambda: real_bundles(build, [avx2.TARGET], Show()))
    runner = next(iter(bundles.values())) / "runner.pyz"
    with tempfile.TemporaryDirectory() as scratch:
        found = clock.step("emulation", lambda: avx2.check(avx2.haswell(qemu), bundles, Path(scratch), runner, clock.say))
    return results.document("avx2", [found], clock.seconds, [qemu])


def main(arguments: list[str] | None = None) -> int:
    """Run one lane and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lanes", description="Verify bundles on emulated CPUs.", epilog=__doc__)
    parser.add_argument("lane", choices=("arm64", "avx2"))
    parser.add_argument(
        "--build", type=Path, default=Path("build"), help="where edgekit builds; the lane's own things lie in lanes/ below"
    )
    parser.add_argument(
        "--real", action="store_true", help="verify the shipped recipes' bundles as well, where their stages are in --build"
    )
    parser.add_argument("--record", action="store_true", help="write benchmarks/lanes/results.json and its page")
    parser.add_argument("--out", type=Path, help="write the result document here too")
    asked = parser.parse_args(arguments)
    try:
        clock = Clock()
        found = (arm64_lane if asked.lane == "arm64" else avx2_lane)(asked.build, clock, real=asked.real)
        found["seconds"]["all"] = round(time.monotonic() - clock.begun, 1)
        found["seconds"]["cpu"] = round(sum(os.times()[:4]), 1)
    except EdgekitError as fault:
        print(f"lane {asked.lane}: {fault.text()}", file=sys.stderr)
        return fault.exit_code
    except (Interrupted, KeyboardInterrupt):
        print(f"lane {asked.lane}: interrupted; what was fetched and made is kept", file=sys.stderr)
        return 130
    if asked.record:
        results.record(found)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(results.summary(found)))
    print(f"lane {asked.lane}: all as it should be, in {found['seconds']['all']:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
