"""The benchmark's supervisor: fresh processes, variants interleaved in a seeded order, faults named, Ctrl-C loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.bundle import open_bundle
from edgekit.runtime.environment import compare, energy_reason, snapshot
from edgekit.runtime.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.runtime.session import check_chip
from edgekit.runtime.statistics import spread, summary

__all__ = ["Runs", "bench_bundle", "run_children", "scenario_facts", "validity"]

STABLE = 0.10
"""Process medians further apart than this share make a result unstable."""
Progress = Callable[[float, float, str], None]


@dataclass
class Runs:
    """What the processes of each variant gave, in the order they ran."""

    children: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

    def samples(self, variant: str, scenario: str) -> list[list[float]]:
        """Run times in milliseconds, a list for each process."""
        return [child["samples"][scenario] for child in self.children[variant]]


def run_children(specs: Mapping[str, dict[str, Any]], *, processes: int, seed: int, progress: Progress, timeout: float = 300) -> Runs:
    """Run each variant's specification in `processes` fresh processes; each round has every variant once, shuffled.

    Raises:
        CheckFailed: a process of a variant failed (its last words are in the message).
        NotPossibleHere: it died of an unknown instruction or of too little memory.
    """
    runs = Runs(children={name: [] for name in specs})
    generator = np.random.default_rng(seed)
    total = processes * len(specs)
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(processes):
            for name in (list(specs)[index] for index in generator.permutation(len(specs))):
                done = sum(map(len, runs.children.values()))
                progress(done, total, f"measure: {name}, process {turn + 1} of {processes}")
                path = Path(folder) / "spec.json"
                path.write_text(json.dumps({**specs[name], "seed": seed * 1000 + turn}), encoding="utf-8")
                try:
                    runs.children[name].append(_child(path, name, specs[name]["threads"], timeout))
                except KeyboardInterrupt:
                    runs.interrupted = True
                    return runs
    progress(total, total, "measured")
    return runs


def _child(path: Path, name: str, threads: int, timeout: float) -> dict[str, Any]:
    here = str(Path(__file__).resolve().parents[2])
    environment = {
        **os.environ,
        "ORT_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "EDGEKIT_SPAWNED_NS": str(time.clock_gettime_ns(time.CLOCK_MONOTONIC)),
    }
    command = [sys.executable, "-m", "edgekit.runtime.measure", str(path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise CheckFailed(f"a process of {name} took more than {timeout:.0f} s", where="bench") from None
        except KeyboardInterrupt:
            process.kill()
            raise
    if process.returncode == -signal.SIGILL:
        raise NotPossibleHere(f"{name}: this onnxruntime wheel needs a newer instruction set than this chip has", where="bench")
    if process.returncode == -signal.SIGKILL:
        raise NotPossibleHere(f"{name}: the process was killed, most likely out of memory", where="bench")
    if process.returncode != 0:
        raise CheckFailed(f"a process of {name} failed", where="bench", faults=errors.strip().splitlines()[-3:])
    document: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return document


def scenario_facts(runs: Runs, variant: str, seed: int) -> dict[str, Any]:
    """Scenarios, phases and memory of one variant over its processes (medians of phases and of memory)."""
    children = runs.children[variant]
    names = list(children[0]["samples"])
    middle = {
        part: {key: float(np.median([child[part][key] for child in children])) for key in children[0][part]} for part in ("phases", "memory")
    }
    middle["memory"]["above_baseline_mb"] = middle["memory"]["peak_mb"] - middle["memory"]["baseline_mb"]
    return {"scenarios": [{"name": name, **summary(runs.samples(variant, name), seed)} for name in names], **middle}


def validity(runs: Runs, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """{"stable", "throttled", "reasons"}: whether the processes agree, and what else a reader must know."""
    found = compare(before, after)
    reasons = list(found["reasons"])
    apart = {}
    for name, children in runs.children.items():
        if len(children) > 1:
            apart[name] = max(spread(runs.samples(name, scenario)) for scenario in children[0]["samples"])
    unstable = {name: share for name, share in apart.items() if share > STABLE}
    reasons += [f"processes of {name} differ by {share:.0%}" for name, share in unstable.items()]
    if runs.interrupted:
        reasons.append("interrupted: fewer processes than asked for")
    return {"stable": not unstable and not runs.interrupted, "throttled": found["throttled"], "reasons": reasons}


def bench_bundle(path: Path, *, threads: int | None, processes: int, seconds: float, out: Path | None) -> dict[str, Any]:
    """Measure a lone bundle on this machine, without torch and without baselines; inputs are its golden texts.

    Raises:
        NotPossibleHere: this chip is not the bundle's target, or is emulated.
    """
    if processes < 1 or seconds <= 0:
        raise BadInput("processes must be at least 1 and seconds above 0", where="bench")
    bundle = open_bundle(path)
    manifest = bundle.manifest
    check_chip(manifest.arch, manifest.isa, manifest.isa_any, str(bundle.folder))
    if "qemu-" in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace"):
        raise NotPossibleHere("this processor is emulated: its times mean nothing", where="bench", fix="measure on the device itself")
    golden = json.loads((bundle.folder / manifest.document["edgekit"]["golden"]["file"]).read_text(encoding="utf-8"))["rows"]
    before = snapshot()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        rows.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in golden), encoding="utf-8")
        spec = {
            "kind": "onnx", "folder": str(bundle.folder), "model": manifest.model_file, "rows": str(rows), "task": manifest.task,
            "max_length": manifest.max_length, "provider": manifest.provider, "threads": threads or manifest.threads,
            "session_config": manifest.session_config, "seconds": seconds, "min_runs": 200, "max_warmup_seconds": 3.0,
            "scenarios": ["real", 16, 64, min(128, manifest.max_length)],
        }  # fmt: skip
        runs = run_children({"bundle": spec}, processes=processes, seed=7, progress=lambda done, total, text: None)
    after = snapshot()
    document = {
        "schema_version": 1, "bundle": manifest.name, "artifact_sha256": manifest.assets[manifest.model_file].sha256,
        "protocol": {"processes": processes, "seconds": seconds, "rows": "the bundle's golden texts", "warm_file": True},
        "variants": [{"name": "bundle", **scenario_facts(runs, "bundle", 7)}],
        "environment": {"before": before, "after": after}, "energy": None, "energy_reason": energy_reason(),
        "validity": validity(runs, before, after),
    }  # fmt: skip
    if out is not None:
        temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
        os.replace(temporary, out)
    return document
