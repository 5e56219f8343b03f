"""The benchmark of one result folder: all its variants in one interleaved run, as one result document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

from pydantic import ValidationError

from edgekit.bench.engines import runtime_in, specifications_in, usable_engines
from edgekit.bench.language import guesses_block, language_block, language_specs
from edgekit.bench.traffic import traffic
from edgekit.bench.variants import BUNDLE, digests_of, files_of, is_eager, seen_from_here, specifications
from edgekit.config.target import WASM, Target, recorded_target
from edgekit.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.host import Host, detect
from edgekit.progress import Progress
from edgekit.runtime.bench.protocol import MEMORY, Protocol, chosen_by, fixed_lengths, take
from edgekit.runtime.bench.statistics import ratio_interval
from edgekit.runtime.bench.supervise import Runs, scenario_facts
from edgekit.runtime.bench.words import GRAPH, TEXT
from edgekit.runtime.model import checked, threads_for
from edgekit.runtime.outputs import write_atomically
from edgekit.runtime.providers.names import AUTO, CPU
from edgekit.runtime.strict_json import read_json
from edgekit.runtime.temporary import temporary_folder
from edgekit.runtime.threads import Threads
from edgekit.tasks import find_task

__all__ = ["FULL", "QUICK", "run_bench"]


class _Usual(TypedDict):
    """Numbers of a protocol where nobody asks for others."""

    processes: int
    seconds: float
    min_runs: int
    max_warmup_seconds: float


QUICK = _Usual(processes=3, seconds=0.4, min_runs=50, max_warmup_seconds=0.8)
FULL = _Usual(processes=10, seconds=0.5, min_runs=80, max_warmup_seconds=1.5)
OF_QUICK, OF_FULL = 4, 20
"""Seconds that guesses of next tokens are measured for, in those of a scenario."""
NEEDED = {"recipe": dict, "target": dict, "rows": str, "max_length": int, "variants": dict}


def run_bench(
    folder: Path,
    *,
    quick: bool,
    out: Path,
    progress: Progress,
    command: str,
    processes: int | None = None,
    seconds: float | None = None,
    threads: Threads = None,
    prompts: tuple[int, ...] | None = None,
    seed: int = 7,
    timed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Time every variant that `lineage.json` of `folder` names, and write the document to `out` atomically.

    Of an encoder from text to answer, and the graph alone.
    Quick: real lengths only, three short processes a variant. Full: fixed lengths and traffic too, ten processes. Of a
    language model prompts of several lengths (`prompts`, in tokens) are read and tokens made after each; quick: of one. After
    Ctrl-C the document holds what was complete, says so (`"complete": false`), and is written all the same.

    `threads`: of every variant alike; None: as the target says; "auto": as many as are fastest for the bundle here.

    `timed`: sha256 by name of the files of the bundle that its times are to be of; None: whatever the lineage names.

    Raises:
        BadInput: no lineage there, or numbers out of range.
        NotPossibleHere: this host is not the target, or is emulated: its times would carry the wrong label.
        CheckFailed: a process of a variant failed, or the lineage's files of the bundle are not the bundle's.
        Interrupted: Ctrl-C before any process was complete.
    """
    lineage, target = _lineage(folder)
    if timed is not None and (differing := _differing(lineage["variants"].get(BUNDLE), timed)):
        where = f"{folder}, variants/{BUNDLE}"
        raise CheckFailed(f"not the bundle's: {', '.join(differing)}", where=where, fix="run `edgekit export` again")
    host = detect()
    _refuse(target, host)
    engines = usable_engines() if target.arch == WASM else {}
    usual = QUICK if quick else FULL
    is_decoder = find_task(lineage["recipe"]["task"]).kind == "decoder"
    of_target = target.session.threads.decoder if is_decoder else target.session.threads.encoder
    wanted = of_target if threads is None else threads
    protocol = Protocol(
        usual["processes"] if processes is None else processes, usual["seconds"] if seconds is None else seconds, usual["min_runs"],
        usual["max_warmup_seconds"], 1 if wanted == AUTO else min(wanted, host.cores_usable), seed,
    )  # fmt: skip
    if wanted == AUTO and engines:
        raise BadInput("how many threads are fastest in a browser is not searched for", where="--threads", fix="give a number")
    if wanted == AUTO:
        protocol = replace(protocol, threads=threads_for(checked(folder / BUNDLE), AUTO))
    if prompts and not is_decoder:
        raise BadInput(f"a model for {lineage['recipe']['task']} reads no prompts", where="bench, prompts", fix="leave it out")
    lengths = [] if quick else fixed_lengths(lineage["max_length"])
    with temporary_folder("bench") as aside:
        items = aside / "items.jsonl"
        items.write_text(_items(lineage), encoding="utf-8")
        specs, left_out = specifications(lineage, items, {**protocol.specification(), "scenarios": [TEXT, GRAPH, *lengths]})
        variants = lineage["variants"]
        if engines and specs:
            specs, variants, beyond = specifications_in(engines, specs, variants, folder)
            left_out |= beyond
        if not specs:
            reasons = [f"{name}: {reason}" for name, reason in left_out.items()]
            raise BadInput("none of the variants can be measured", where=str(folder), faults=reasons)
        if is_decoder:
            specs = language_specs(specs, folder, quick=quick, prompts=prompts)
        compared = set(specs) - {BUNDLE, MEMORY}
        measurement = take(specs, protocol, provider=target.provider, progress=progress, compared=compared)
        runs = measurement.runs
        loaded: list[dict[str, Any]] = []
        complete = not runs.interrupted
        if complete and not quick and not is_decoder and not engines:
            loaded, complete = traffic({name: specs[name] for name in runs.measured()}, host.cores_usable, seed, progress)
        guesses: dict[str, Any] = {}
        if complete and is_decoder and not engines and target.provider == CPU and BUNDLE in runs.measured():
            progress(0, 1, "guesses of next tokens on the test rows")
            longest = (OF_QUICK if quick else OF_FULL) * protocol.seconds
            guesses = guesses_block(folder / BUNDLE, items, threads=protocol.threads, seconds=longest, seed=seed)
    left_out |= runs.failed
    left_out |= {
        name: "interrupted before its first process was complete"
        for name in specs
        if name not in (MEMORY, *left_out, *runs.measured())
    }
    document = {
        "schema_version": 1,
        "complete": complete,
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": lineage["recipe"].get("name"),
        "target": {"requested": target.name, "detected": host.document()},
        "artifact_sha256": files_of(lineage["variants"][BUNDLE])["sha256"] if BUNDLE in specs else None,
        "files_sha256": digests_of(lineage["variants"][BUNDLE]) if BUNDLE in specs else {},
        "runtime": {
            "onnxruntime": runtime_in(engines) if engines else host.onnxruntime,
            "python": host.python,
            "provider": target.provider,
            "providers": next(
                (runs.children[name][0]["providers"] for name in runs.measured() if specs[name]["kind"] == "onnx"), []
            ),
            "session": {**target.session.model_dump(), "threads": protocol.threads},
        },
        "protocol": {
            "processes": protocol.processes,
            **protocol.specification(),
            "threads_by": chosen_by(threads, auto=wanted == AUTO and target.provider == CPU),
            "interleaved": True,
            "seed": seed,
            "quick": quick,
            "batch": 1,
            "rows": "texts of test rows, joined and cut to the length of each prompt"
            if is_decoder
            else "test rows at their real lengths",
            "warm_file": True,
        },
        "variants": _variants(runs, variants, seed),
        "left_out": left_out,
        "ratios": _ratios(runs, seed),
        "traffic": loaded,
        **(
            {
                "language": language_block(runs, variants, specs, measurement.memory_reads, seed)
                | ({"guesses": guesses} if guesses else {})
            }
            if is_decoder
            else {}
        ),
        **measurement.facts(complete=complete),
    }
    write_atomically(out, json.dumps(document, indent=1) + "\n")
    return document


def _lineage(folder: Path) -> tuple[dict[str, Any], Target]:
    """The lineage of a result and the target it was made for."""
    path = folder / "lineage.json"
    try:
        lineage = read_json(path)
    except BadInput as fault:
        raise BadInput(f"no readable lineage.json: {fault.what}", where=str(folder), fix="run `edgekit export` first") from None
    faults = [name for name, kind in NEEDED.items() if not isinstance(lineage, dict) or not isinstance(lineage.get(name), kind)]
    faults += [] if faults else [name for name, item in lineage["variants"].items() if not _is_variant(item)]
    if faults:
        raise BadInput(
            f"not a lineage: {', '.join(faults)} missing or wrong", where=str(path), fix="run `edgekit export` again"
        )
    try:
        target = recorded_target(lineage["target"])
    except ValidationError as fault:
        raise BadInput(f"its target is not sound: {fault.errors()[0]['msg']}", where=str(path)) from None
    return seen_from_here(lineage, folder), target


def _differing(variant: dict[str, Any] | None, timed: Mapping[str, str]) -> list[str]:
    """Names of files of the bundle that the lineage has others of."""
    found = {} if variant is None else digests_of(variant)
    return [name for name, digest in found.items() if timed.get(name) != digest]


def _is_variant(item: object) -> bool:
    return isinstance(item, dict) and all(isinstance(item.get(field), str) for field in ("kind", "folder"))


def _items(lineage: dict[str, Any]) -> str:
    """What is asked of a variant, one JSON value a line: the inputs of all test rows."""
    task = find_task(lineage["recipe"]["task"])
    with Path(lineage["rows"]).open(encoding="utf-8") as file:
        return "".join(json.dumps(item) + "\n" for line in file for item in task.items(json.loads(line)))


def _refuse(target: Target, host: Host) -> None:
    """A time must never carry another machine's label."""
    fix = "measure on the device itself: `edgekit bench BUNDLE --device user@host`"
    if host.emulated:
        raise NotPossibleHere(
            f"this CPU is emulated ({host.evidence}): its times mean nothing",
            where="bench",
            fix=fix,
            see="the-chip-is-not-the-targets",
        )
    lacks = target.lacks(host)
    if lacks:
        raise NotPossibleHere(
            f"target {target.name} cannot be measured on this machine",
            where="bench",
            faults=lacks,
            fix=fix if target.arch != WASM else "install Chromium (Debian: apt-get install chromium), or Node 20 or later",
            see="the-chip-is-not-the-targets",
        )


def _variants(runs: Runs, variants: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Figures of each measured variant. Memory has one baseline for all: the interpreter with numpy and onnxruntime."""
    onnx = [child for name in runs.measured() if not is_eager(variants[name]) for child in runs.children[name]]
    baseline = median(child["memory"]["baseline_mb"] for child in onnx) if onnx else None
    measured = []
    for name in runs.measured():
        variant, facts = variants[name], scenario_facts(runs, name, seed)
        if baseline is not None:
            facts["memory"] |= {"baseline_mb": baseline, "above_baseline_mb": facts["memory"]["peak_mb"] - baseline}
        measured.append(
            {"name": name, "title": variant.get("title", name), **files_of(variant), "quality": variant.get("quality"), **facts}
        )
    return measured


def _ratios(runs: Runs, seed: int) -> list[dict[str, Any]]:
    """The bundle's speed against every other variant, in every scenario."""
    if BUNDLE not in runs.measured():
        return []
    return [
        {"of": BUNDLE, "against": name, "scenario": scenario}
        | ratio_interval(runs.samples(name, scenario), runs.samples(BUNDLE, scenario), seed)
        for name in runs.measured()
        if name != BUNDLE
        for scenario in runs.children[name][0]["samples"]
    ]
