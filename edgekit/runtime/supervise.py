"""The benchmark's supervisor: fresh processes, variants interleaved in a seeded order, faults named, Ctrl-C loses nothing."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.bundle import open_bundle
from edgekit.runtime.child import run_child
from edgekit.runtime.chip import emulation, machine, parse_cpuinfo, read_text, usable_cores
from edgekit.runtime.environment import compare, snapshot
from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.health.record import Recorder, energy_block, find_meters
from edgekit.runtime.session import check_chip
from edgekit.runtime.statistics import spread, summary

__all__ = [
    "Progress",
    "Runs",
    "bench_bundle",
    "dots",
    "energy_facts",
    "refuse_emulation",
    "run_children",
    "scenario_facts",
    "validity",
]

STABLE = 0.10
"""Process medians further apart than this share make a result unstable."""
MIN_RUNS = 200
Progress = Callable[[float, float, str], None]


@dataclass
class Runs:
    """What the processes of each variant gave, in the order they ran: process k of every variant ran in round k."""

    children: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    interrupted: bool = False

    def samples(self, variant: str, scenario: str) -> list[list[float]]:
        """Run times in milliseconds, a list for each process."""
        return [child["samples"][scenario] for child in self.children[variant]]

    def measured(self) -> list[str]:
        """Variants with at least one whole process."""
        return [name for name, children in self.children.items() if children]


def run_children(
    specs: Mapping[str, dict[str, Any]], *, processes: int, seed: int, progress: Progress, timeout: float = 300
) -> Runs:
    """Run each variant's specification in `processes` fresh processes; each round has every variant once, shuffled.

    Ctrl-C ends the running process and returns what was complete, with `interrupted` set.

    Raises:
        CheckFailed: a process of a variant failed or took more than `timeout` seconds (its last words are in the message).
        BadInput: it could not use its files.
        NotPossibleHere: it lacks a provider, or died of an unknown instruction or of too little memory.
    """
    runs = Runs(children={name: [] for name in specs})
    generator = np.random.default_rng(seed)
    names, total = list(specs), processes * len(specs)
    done = 0
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        path = Path(folder) / "spec.json"
        try:
            for turn in range(processes):
                for name in (names[index] for index in generator.permutation(len(names))):
                    progress(done, total, f"measure: {name}, process {turn + 1} of {processes}")
                    path.write_text(json.dumps({**specs[name], "seed": seed * 1000 + turn}), encoding="utf-8")
                    runs.children[name].append(run_child(path, name, specs[name]["threads"], timeout))
                    done += 1
        except KeyboardInterrupt:
            runs.interrupted = True
    progress(done, total, "interrupted" if runs.interrupted else "measured")
    return runs


def scenario_facts(runs: Runs, variant: str, seed: int) -> dict[str, Any]:
    """Scenarios, phases and memory of one variant over its processes (medians of phases, memory and CPU time)."""
    children = runs.children[variant]
    middle = {part: {key: _middle(children, part, key) for key in children[0][part]} for part in ("phases", "memory")}
    middle["memory"]["above_baseline_mb"] = middle["memory"]["peak_mb"] - middle["memory"]["baseline_mb"]
    scenarios = [
        {"name": name, **summary(runs.samples(variant, name), seed), "cpu_ms": _middle(children, "cpu_ms", name)}
        for name in children[0]["samples"]
    ]
    return {"scenarios": scenarios, **middle}


def _middle(children: list[dict[str, Any]], part: str, key: str) -> float:
    return float(np.median([child[part][key] for child in children]))


def energy_facts(recorder: Recorder, unread: list[str], runs: Runs) -> dict[str, Any]:
    """{"energy", "energy_reason"}: millijoules for each inference, read and never estimated; or None and why (`unread`)."""
    windows: dict[str, dict[str, list[Any]]] = {}
    for variant in runs.measured():
        for child in runs.children[variant]:
            for scenario, window in child.get("windows", {}).items():
                windows.setdefault(variant, {}).setdefault(scenario, []).append(window)
    energy = energy_block(recorder, windows)
    why = "; ".join(unread) if not recorder.meters else "no timed window was long enough to read energy over it"
    return {"energy": {**energy, "unread": unread} if energy else None, "energy_reason": None if energy else why}


def validity(runs: Runs, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """{"valid", "stable", "throttled", "reasons"}: whether the processes agree, and what else a reader must know.

    Stable means at least two processes a variant, whose medians agree within STABLE in every scenario, without throttling. A
    throttled run is not valid: its times are of a slowed chip.
    """
    providers = {name for children in runs.children.values() for child in children for name in child.get("providers", [])}
    found = compare(before, after, on_gpu=bool(providers - {"CPUExecutionProvider"}))
    reasons = list(found["reasons"])
    stable = not found["throttled"] and not runs.interrupted
    if runs.interrupted:
        reasons.insert(0, "interrupted: fewer processes than asked for")
    for name in runs.measured():
        children = runs.children[name]
        if len(children) < 2:
            stable = False
            reasons.append(f"one process of {name}: its interval knows nothing of how processes differ")
            continue
        share, scenario = max((spread(runs.samples(name, scenario)), scenario) for scenario in children[0]["samples"])
        if share > STABLE:
            stable = False
            reasons.append(f"processes of {name} differ by {share:.0%} ({scenario})")
    return {"valid": not found["throttled"], "stable": stable, "throttled": found["throttled"], "reasons": reasons}


def dots(done: float, total: float, text: str) -> None:
    """Progress for a bare terminal: a dot a process on standard error, and nothing where that is no terminal."""
    if sys.stderr.isatty():
        print("." if done < total else "\n", end="", file=sys.stderr, flush=True)


def bench_bundle(
    path: Path,
    *,
    threads: int | None,
    processes: int,
    seconds: float,
    out: Path | None,
    progress: Progress = dots,
    seed: int = 7,
) -> dict[str, Any]:
    """Measure a lone bundle on this machine, without torch and without baselines; inputs are its golden texts.

    Writes the document to `out` (atomically) and returns it; after Ctrl-C, with the processes that were complete, and with
    `"complete": false`.

    Raises:
        BadInput: numbers out of range, or no sound bundle there.
        CheckFailed: the bundle's files are not what its manifest says, or a process failed.
        NotPossibleHere: this chip is not the bundle's target, or is emulated.
        KeyboardInterrupt: Ctrl-C before the first process was complete.
    """
    if processes < 1 or not 0 < seconds < 3600 or (threads is not None and threads < 1):
        raise BadInput("processes and threads must be at least 1, seconds above 0 and below 3600", where="bench")
    bundle = open_bundle(path)
    manifest = bundle.manifest
    refuse_emulation()
    check_chip(manifest.arch, manifest.isa, manifest.isa_any, str(bundle.folder))
    golden = json.loads((bundle.folder / manifest.document["edgekit"]["golden"]["file"]).read_text(encoding="utf-8"))["rows"]
    used = min(threads or manifest.threads, _detected()["cores_usable"])
    lengths = sorted({min(length, manifest.max_length) for length in (16, 64, 128)})
    before = snapshot()
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        items = Path(folder) / "items.jsonl"
        items.write_text("".join(json.dumps(row["input"]) + "\n" for row in golden), encoding="utf-8")
        spec = {
            "kind": "onnx",
            "folder": str(bundle.folder),
            "model": manifest.model_file,
            "items": str(items),
            "task": manifest.task,
            "max_length": manifest.max_length,
            "provider": manifest.provider,
            "threads": used,
            "session_config": manifest.session_config,
            "seconds": seconds,
            "min_runs": MIN_RUNS,
            "max_warmup_seconds": 3.0,
            "scenarios": ["real", *lengths],
        }
        meters, unread = find_meters(manifest.provider)
        with Recorder(meters) as recorder:
            runs = run_children({"bundle": spec}, processes=processes, seed=seed, progress=progress)
    if not runs.measured():
        raise KeyboardInterrupt
    after = snapshot()
    document = {
        "schema_version": 1,
        "complete": not runs.interrupted,
        "bundle": manifest.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "artifact_sha256": manifest.assets[manifest.model_file].sha256,
        "target": {"requested": manifest.document["edgekit"]["target"]["name"], "detected": _detected()},
        "runtime": {
            "provider": manifest.provider,
            "providers": runs.children["bundle"][0]["providers"],
            "threads": used,
            "session_config": manifest.session_config,
        },
        "environment": {"before": before, "after": after},
        "protocol": {
            "processes": processes,
            "seconds": seconds,
            "min_runs": MIN_RUNS,
            "interleaved": False,
            "seed": seed,
            "quick": False,
            "batch": 1,
            "rows": "the bundle's golden inputs",
            "warm_file": True,
        },
        "variants": [{"name": "bundle", **scenario_facts(runs, "bundle", seed)}],
        "ratios": [],
        **energy_facts(recorder, unread, runs),
        "validity": validity(runs, before, after),
    }
    if out is not None:
        _write(out, document)
    return document


def refuse_emulation() -> None:
    """Raise NotPossibleHere where software translates this process' instructions: its times would be the emulator's."""
    sign = emulation()
    if sign is not None:
        what = f"this processor is emulated ({sign}): its times mean nothing"
        raise NotPossibleHere(what, where="bench", fix="measure on the device itself")


def _detected() -> dict[str, Any]:
    """The machine, as far as the runtime alone sees it."""
    chip = parse_cpuinfo(read_text(Path("/proc/cpuinfo")))
    return {
        "arch": machine(),
        "cpu": chip.model,
        "isa": sorted(chip.isa),
        "cores_usable": usable_cores(chip.physical or os.cpu_count() or 1),
        "virtualised": chip.virtualised,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "onnxruntime": metadata.version("onnxruntime"),
    }


def _write(out: Path, document: dict[str, Any]) -> None:
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
