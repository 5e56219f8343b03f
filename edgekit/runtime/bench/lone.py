"""The benchmark of a lone bundle on the machine it is on: no torch, no baselines, its golden inputs."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.bench.measured import timed_files
from edgekit.runtime.bench.prompts import TOKENS, prompts_that_fit
from edgekit.runtime.bench.protocol import MEMORY, Protocol, chosen_by, fixed_lengths, take
from edgekit.runtime.bench.supervise import scenario_facts
from edgekit.runtime.bench.words import GRAPH, TEXT
from edgekit.runtime.bundle.contents import check_contents
from edgekit.runtime.bundle.golden import parse_golden
from edgekit.runtime.bundle.open import Bundle, open_bundle
from edgekit.runtime.chip import emulation, machine, parse_cpuinfo, read_text, usable_cores
from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.items import at_terminal
from edgekit.runtime.model import checked, threads_for
from edgekit.runtime.outputs import check_output_file, write_atomically
from edgekit.runtime.progress import Progress
from edgekit.runtime.providers.names import AUTO, CPU
from edgekit.runtime.records import as_json
from edgekit.runtime.temporary import temporary_folder
from edgekit.runtime.threads import Threads

__all__ = ["Elsewhere", "bench_bundle", "dots", "refuse_emulation"]

MIN_RUNS, WARM_UP_SECONDS = 200, 3.0


@dataclass(frozen=True)
class Elsewhere:
    """Where a bundle is timed that is not for this process' onnxruntime, such as a browser."""

    specifications: Callable[[dict[str, Any]], dict[str, dict[str, Any]]]
    """What a measuring process of the bundle is told -> what each of them is told, by name."""
    runtime: str
    """What computes there, in words."""


def dots(done: float, total: float, text: str) -> None:
    """Progress for a bare terminal: a dot a process on standard error, and nothing where that is no terminal."""
    if at_terminal(sys.stderr):
        print("." if done < total else "\n", end="", file=sys.stderr, flush=True)


def bench_bundle(
    path: Path,
    *,
    threads: Threads,
    prompts: tuple[int, ...] | None = None,
    processes: int,
    seconds: float,
    out: Path | None,
    progress: Progress = dots,
    seed: int = 7,
    elsewhere: Elsewhere | None = None,
) -> dict[str, Any]:
    """Measure a lone bundle on this machine, without torch and without baselines; inputs are its golden texts.

    Writes the document to `out` (atomically) and returns it; after Ctrl-C, with the processes that were complete, and with
    `"complete": false`. `elsewhere`: what it is timed by instead of this onnxruntime.

    Raises:
        BadInput: numbers out of range, no sound bundle there, or an `out` that cannot be written; before anything is measured.
        CheckFailed: the bundle's files are not what its manifest says, or a process failed.
        NotPossibleHere: this chip is not the bundle's target, or is emulated; no folder for temporary files.
        Interrupted: Ctrl-C before the first process was complete.
    """
    if out is not None:
        check_output_file(out, "--out")
    protocol = Protocol(
        processes, seconds, MIN_RUNS, WARM_UP_SECONDS, 1 if threads is None or threads == AUTO else threads, seed
    )  # numbers first: hashing takes a while
    refuse_emulation()
    bundle = checked(path) if elsewhere is None else _whole(path)
    manifest = bundle.manifest
    golden = parse_golden(bundle.folder, manifest)
    wanted = threads_for(bundle, threads) if elsewhere is None else _number(threads or manifest.variant.threads or 1)
    used = min(wanted, _detected()["cores_usable"])
    protocol = replace(protocol, threads=used)
    auto = elsewhere is None and (threads or manifest.variant.threads or AUTO) == AUTO and manifest.variant.provider == CPU
    language = manifest.generation
    if prompts and language is None:
        raise BadInput(f"a model for {manifest.task} reads no prompts", where="--prompts", fix="leave it out")
    lengths = prompts_that_fit(language.context, prompts) if language else fixed_lengths(manifest.max_length)
    with temporary_folder("bench") as folder:
        items = folder / "items.jsonl"
        items.write_text("".join(json.dumps(row.input) + "\n" for row in golden), encoding="utf-8")
        spec = {
            "kind": "onnx",
            "folder": str(bundle.folder),
            "model": manifest.variant.file,
            "items": str(items),
            "task": manifest.task,
            "max_length": manifest.max_length,
            "prompt": manifest.prompts.before(),
            "provider": manifest.variant.provider,
            "session_config": manifest.variant.config,
            **protocol.specification(),
            "scenarios": [TEXT, GRAPH, *lengths],
        }
        specs = {"bundle": spec}
        if language is not None:
            specs = {
                "bundle": {**spec, "generation": as_json(language), "prompts": lengths, "min_runs": 2 * TOKENS},
                MEMORY: {"kind": "memory", "threads": used},
            }
        if elsewhere is not None:
            specs = {
                **elsewhere.specifications(specs["bundle"]),
                **{name: spec for name, spec in specs.items() if name == MEMORY},
            }
        measurement = take(specs, protocol, provider=manifest.variant.provider, progress=progress)
    runs, reads = measurement.runs, measurement.memory_reads
    document = {
        "schema_version": 1,
        "complete": not runs.interrupted,
        "bundle": manifest.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "artifact_sha256": manifest.assets[manifest.variant.file].sha256,
        "files_sha256": timed_files({name: asset.sha256 for name, asset in manifest.assets.items()}),
        "target": {"requested": manifest.target.name, "detected": _detected()},
        "runtime": {
            "provider": manifest.variant.provider,
            "providers": runs.children["bundle"][0]["providers"],
            "threads": used,
            "session_config": manifest.variant.config,
            **({} if elsewhere is None else {"onnxruntime": elsewhere.runtime}),
        },
        "protocol": {
            "processes": processes,
            "seconds": seconds,
            "min_runs": MIN_RUNS,
            "interleaved": False,
            "seed": seed,
            "quick": False,
            "batch": 1,
            "threads_by": chosen_by(threads, auto=auto),
            "rows": "the bundle's golden inputs" + (", joined and cut to the length of each prompt" if language else ""),
            "warm_file": True,
        },
        "variants": [{"name": name, **scenario_facts(runs, name, seed)} for name in runs.measured()],
        "ratios": [],
        **({"memory_gb_s": {"median": float(np.median(reads)) if reads else None, "readings": len(reads)}} if language else {}),
        **measurement.facts(complete=not runs.interrupted),
    }
    if out is not None:
        write_atomically(out, json.dumps(document, indent=1) + "\n")
    return document


def _whole(path: Path) -> Bundle:
    """The bundle at `path`, with every file as its manifest says, whatever chip it is for."""
    bundle = open_bundle(path)
    check_contents(bundle)
    return bundle


def _number(threads: Threads) -> int:
    if isinstance(threads, int):
        return threads
    raise BadInput("how many threads are fastest in a browser is not searched for", where="--threads", fix="give a number")


def refuse_emulation() -> None:
    """Raise NotPossibleHere where software translates the instructions of this process: its times would be the emulator's."""
    sign = emulation()
    if sign is not None:
        what = f"this CPU is emulated ({sign}): its times mean nothing"
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
