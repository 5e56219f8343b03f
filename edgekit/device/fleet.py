"""One bundle on many devices at once: a result file for each, one table for all, and no device measured twice unless asked."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekit.device.inventory import Device
from edgekit.device.parts import parts_of
from edgekit.device.run import Job, job_of, run_on, sound
from edgekit.errors import BadInput, EdgekitError
from edgekit.pack.runner import write_runner
from edgekit.progress import Progress, Show
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.outputs import check_output_folder, write_atomically
from edgekit.runtime.strict_json import read_json
from edgekit.runtime.temporary import temporary_folder
from edgekit.runtime.threads import Threads

__all__ = ["Outcome", "bench_on_devices"]

SCHEMA = 1

LARGEST = 64_000_000
"""Bytes of a result of before that is read."""


@dataclass(frozen=True)
class Outcome:
    """What came of one device."""

    device: Device
    path: Path
    """Where its result lies."""
    result: dict[str, Any] | None
    kept: bool = False
    """It was measured by an earlier run of the same command."""
    fault: EdgekitError | None = None

    def document(self) -> JsonObject:
        """For `--json`."""
        state = "failed" if self.fault else ("kept" if self.kept else "measured")
        return {
            "device": self.device.name, "at": self.device.shown(), "state": state,
            "error": self.fault.text() if self.fault else None, "exit_code": self.fault.exit_code if self.fault else 0,
            "path": str(self.path) if self.result else None, "result": self.result,
        }  # fmt: skip


def bench_on_devices(
    bundle: Path,
    devices: list[Device],
    *,
    processes: int,
    seconds: float,
    threads: Threads,
    seed: int,
    again: bool,
    show: Show,
    runner: Path | None = None,
) -> list[Outcome]:
    """Measure `bundle` on each of `devices`, in parallel; results lie in devices/NAME.json beside the bundle.

    A device whose result file is of this very bundle, runner and options is not asked again, unless `again`. `runner` is a
    runner.pyz; by default one of this edgekit is made.

    Raises:
        BadInput, CheckFailed: no sound bundle there.
        KeyboardInterrupt: Ctrl-C, after every device's link was closed; results that were whole are kept.
    """
    opened = open_bundle(bundle)
    options = ["--processes", str(processes), "--seconds", str(seconds), "--seed", str(seed)]
    options += ["--threads", str(threads)] if threads else []
    folder = _results_folder(bundle)
    check_output_folder(folder, "bench")
    with temporary_folder("measure on devices") as aside, show.stage("measure on devices") as progress:
        if runner is None:
            runner = aside / "runner.pyz"
            write_runner(runner)
        job = job_of(opened.manifest, parts_of(opened, runner), tuple(options))
        folder.mkdir(parents=True, exist_ok=True)
        overview = _Overview(len(devices), progress)
        return _all(devices, job, folder, again, overview)


class _Overview:
    """The step that every device is at, as one progress line."""

    STEPS = ("connect", "send", "verify", "measure", "clean up", "done")

    def __init__(self, count: int, progress: Progress) -> None:
        self.at: dict[str, tuple[str, float, float]] = {}
        self.count, self.progress, self.lock = count, progress, threading.Lock()

    def update(self, name: str, step: str, share: float) -> None:
        """Called from each device's thread."""
        with self.lock:
            last = self.at.get(name, ("", 0.0, 0.0))
            self.at[name] = (step, share, last[2] if last[0] == step else time.monotonic())

    def report(self) -> None:
        """Report the step of every device, with the seconds it has taken so far."""
        now = time.monotonic()
        with self.lock:
            done = sum(self.STEPS.index(step) + share for step, share, _ in self.at.values())
            parts = [f"{name}: {step}" + (f" {share:.0%}" if share else f" {now - since:.0f} s" if step != "done" else "")
                     for name, (step, share, since) in self.at.items()]  # fmt: skip
        self.progress(done, self.count * (len(self.STEPS) - 1), ", ".join(parts))


def _all(devices: list[Device], job: Job, folder: Path, again: bool, overview: _Overview) -> list[Outcome]:
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=len(devices)) as pool:
        waiting: list[Future[Outcome]] = [pool.submit(_one, device, job, folder, again, stop, overview) for device in devices]
        try:
            while wait(waiting, timeout=0.2).not_done:  # in short steps, so that Ctrl-C is heard
                overview.report()
        except KeyboardInterrupt:
            stop.set()
            raise
        return [future.result() for future in waiting]


def _one(device: Device, job: Job, folder: Path, again: bool, stop: threading.Event, overview: _Overview) -> Outcome:
    path = folder / f"{device.name}.json"
    try:
        earlier = None if again else _earlier(path, job)
        if earlier is not None:
            return Outcome(device, path, earlier, kept=True)
        found = run_on(device, job, stop, lambda step, share: overview.update(device.name, step, share))
        named = {"device": device.name, "at": device.shown(), "measured": datetime.now(UTC).isoformat(timespec="seconds")}
        result = {"schema_version": SCHEMA, "key": job.key, **named, **found}
        write_atomically(path, json.dumps(result, indent=1) + "\n")
        return Outcome(device, path, result)
    except EdgekitError as fault:
        return Outcome(device, path, None, fault=fault)
    finally:
        overview.update(device.name, "done", 0.0)


def _earlier(path: Path, job: Job) -> dict[str, Any] | None:
    """The result of an earlier run of the same job; None where there is none or it cannot be read."""
    try:
        found = read_json(path, most=LARGEST)
        whole = found["key"] == job.key and isinstance(found["facts"]["cpu"] + found["measured"], str)
        return dict(found) if whole and isinstance(found["notes"], list) and sound(found["bench"], job.manifest) else None
    except (BadInput, KeyError, TypeError):
        return None


def _results_folder(bundle: Path) -> Path:
    """devices/ in the result folder, or beside a lone bundle."""
    inside = bundle.is_dir() and not (bundle / "manifest.json").exists()
    return (bundle if inside else bundle.absolute().parent) / "devices"
