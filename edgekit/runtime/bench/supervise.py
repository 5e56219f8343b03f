"""The benchmark's supervisor: fresh processes, variants interleaved in a seeded order, faults named, Ctrl-C loses nothing."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit.runtime.bench.child import run_child
from edgekit.runtime.bench.environment import compare
from edgekit.runtime.bench.statistics import spread, summary
from edgekit.runtime.bench.words import scenario_words, variant_words
from edgekit.runtime.errors import EdgekitError
from edgekit.runtime.health.record import Recorder, energy_block
from edgekit.runtime.progress import Progress
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.temporary import temporary_folder

__all__ = [
    "Progress",
    "Runs",
    "energy_facts",
    "run_children",
    "scenario_facts",
    "validity",
]

STABLE = 0.10
"""Process medians further apart than this share make a result unstable."""


@dataclass
class Runs:
    """What the processes of each variant gave, in the order they ran: process k of every variant ran in round k."""

    children: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    interrupted: bool = False
    failed: dict[str, str] = field(default_factory=dict)
    """Variants that were only compared with and whose process failed, and why; none of their processes count."""

    def samples(self, variant: str, scenario: str) -> list[list[float]]:
        """Run times in milliseconds, a list for each process."""
        return [child["samples"][scenario] for child in self.children[variant]]

    def measured(self) -> list[str]:
        """Variants with at least one whole process."""
        return [name for name, children in self.children.items() if children]


def run_children(
    specs: Mapping[str, dict[str, Any]], *, processes: int, seed: int, progress: Progress, timeout: float = 300,
    compared: Collection[str] = (),
) -> Runs:  # fmt: skip
    """Run each variant's specification in `processes` fresh processes; each round has every variant once, shuffled.

    `compared`: variants that are only compared with, whose failure is noted and ends nothing. Ctrl-C ends the running process and
    returns what was complete, with `interrupted` set.

    Raises:
        CheckFailed: a process of a variant that is not only compared with failed or took more than `timeout` seconds (its last words are
            in the message).
        BadInput: it could not use its files.
        NotPossibleHere: it lacks a provider, or died of an unknown instruction or of too little memory.
    """
    runs = Runs(children={name: [] for name in specs})
    generator = np.random.default_rng(seed)
    names, total = list(specs), processes * len(specs)
    done = 0
    with temporary_folder("bench") as folder:
        path = folder / "spec.json"
        try:
            for turn in range(processes):
                for name in (names[index] for index in generator.permutation(len(names))):
                    progress(done, total, f"measure: {variant_words(name)}, process {turn + 1} of {processes}")
                    path.write_text(json.dumps({**specs[name], "seed": seed * 1000 + turn}), encoding="utf-8")
                    done += 1
                    if name in runs.failed:
                        continue
                    try:
                        runs.children[name].append(run_child(path, name, specs[name], timeout))
                    except EdgekitError as fault:
                        if name not in compared:
                            raise
                        runs.failed[name] = f"its process failed: {fault.what}"
                        runs.children[name] = []
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
    found = compare(before, after, on_gpu=bool(providers - {CPU}))
    reasons = list(found["reasons"])
    stable = not found["throttled"] and not runs.interrupted
    if runs.interrupted:
        reasons.insert(0, "interrupted: fewer processes than asked for")
    for name in runs.measured():
        children = runs.children[name]
        if len(children) < 2:
            stable = False
            reasons.append(f"one process of {variant_words(name)}: its interval knows nothing of how processes differ")
            continue
        share, scenario = max((spread(runs.samples(name, scenario)), scenario) for scenario in children[0]["samples"])
        if share > STABLE:
            stable = False
            reasons.append(f"processes of {variant_words(name)} differ by {share:.0%} ({scenario_words(scenario)})")
    return {"valid": not found["throttled"], "stable": stable, "throttled": found["throttled"], "reasons": reasons}
