"""The benchmark of one result folder: all its variants in one interleaved run, as one result document."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekit.errors import BadInput, NotPossibleHere
from edgekit.host import detect
from edgekit.runtime.environment import energy_reason, snapshot
from edgekit.runtime.statistics import ratio_interval
from edgekit.runtime.supervise import run_children, scenario_facts, validity
from edgekit.store import sha256_file, write_atomically

__all__ = ["run_bench"]

EAGER = "eager-fp32"
QUICK = {"processes": 3, "seconds": 0.4}
FULL = {"processes": 10, "seconds": 1.0}


def run_bench(
    folder: Path,
    *,
    quick: bool,
    out: Path,
    progress: Callable[[float, float, str], None],
    command: str,
    processes: int | None = None,
    seconds: float | None = None,
    threads: int | None = None,
    seed: int = 7,
) -> dict[str, Any]:
    """Time every variant that `lineage.json` of `folder` names, and write the document to `out` atomically.

    Quick: real lengths only, three short processes a variant. Full: fixed lengths too, ten processes.

    Raises:
        BadInput: no lineage there.
        NotPossibleHere: this host is not the target, or is emulated: its times would carry the wrong label.
    """
    try:
        lineage = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadInput("no readable lineage.json", where=str(folder), fix="run `edgekit export` first") from None
    host, target = detect(), lineage["target"]
    if not lineage["timed_here"]:
        raise NotPossibleHere(
            f"target {target['name']} cannot be measured on this machine: " + ("; ".join(lineage["lacks"]) or "it is emulated"),
            where="bench",
            fix="copy the bundle and runner.pyz to the device and run `runner.pyz bench` there",
        )
    base = QUICK if quick else FULL
    count, length = processes or int(base["processes"]), seconds or base["seconds"]
    scenarios: list[str | int] = ["real"] if quick else ["real", 16, 64, min(128, lineage["max_length"])]
    specs, left_out = _specs(lineage, scenarios, length, threads or target["session"]["threads"])
    before = snapshot()
    runs = run_children(specs, processes=count, seed=seed, progress=progress)
    after = snapshot()
    measured = {name: specs[name] for name in specs if runs.children[name]}
    variants = [
        {
            "name": name,
            "title": lineage["variants"][name]["title"],
            **_files(lineage["variants"][name]),
            "quality": lineage["variants"][name].get("quality"),
            **scenario_facts(runs, name, seed),
        }
        for name in measured
    ]
    document = {
        "schema_version": 1,
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": lineage["recipe"]["name"],
        "target": {"requested": target["name"], "detected": host.document()},
        "artifact_sha256": sha256_file(Path(lineage["variants"]["bundle"]["folder"]) / "model.onnx"),
        "runtime": {"onnxruntime": host.onnxruntime, "provider": target["provider"], "session": target["session"]},
        "environment": {"before": before, "after": after},
        "protocol": {
            "processes": count, "seconds": length, "min_runs": 100, "interleaved": True, "seed": seed, "quick": quick, "batch": 1,
            "threads": threads or target["session"]["threads"], "rows": "test rows at their real lengths", "warm_file": True,
        },
        "variants": variants,
        "left_out": left_out,
        "ratios": _ratios(runs, measured, scenarios, seed),
        "energy": None,
        "energy_reason": energy_reason(),
        "validity": validity(runs, before, after),
    }  # fmt: skip
    write_atomically(out, json.dumps(document, indent=1) + "\n")
    return document


def _specs(lineage: dict[str, Any], scenarios: list[str | int], seconds: float, threads: int) -> tuple[dict[str, Any], dict[str, str]]:
    """(measure specification of each variant, why others are left out)."""
    specs, left_out = {}, {}
    session = lineage["target"]["session"]
    for name, variant in lineage["variants"].items():
        if name == EAGER and importlib.util.find_spec("torch") is None:
            left_out[name] = "torch is not installed"
        elif not Path(variant["folder"]).is_dir():
            left_out[name] = f"its files are gone: {variant['folder']}"
        else:
            specs[name] = {
                "kind": variant["kind"], "folder": variant["folder"], "model": variant.get("file", ""), "rows": lineage["rows"],
                "task": lineage["recipe"]["task"], "max_length": lineage["max_length"], "provider": lineage["target"]["provider"],
                "threads": threads, "session_config": session["config"], "seconds": seconds, "min_runs": 100,
                "max_warmup_seconds": 2.0, "scenarios": scenarios,
            }  # fmt: skip
    return specs, left_out


def _files(variant: dict[str, Any]) -> dict[str, Any]:
    """Sizes in MB (10^6 bytes) and sha256 of what a variant ships: its model, and model and tokenizer together."""
    folder = Path(variant["folder"])
    model = folder / variant["file"]
    both = model.stat().st_size + os.stat(folder / "tokenizer.json").st_size
    return {"file_mb": model.stat().st_size / 1e6, "total_mb": both / 1e6, "sha256": sha256_file(model)}


def _ratios(runs: Any, measured: dict[str, Any], scenarios: list[str | int], seed: int) -> list[dict[str, Any]]:
    if "bundle" not in measured:
        return []
    return [
        {"of": "bundle", "against": name, "scenario": str(scenario)}
        | ratio_interval(runs.samples(name, str(scenario)), runs.samples("bundle", str(scenario)), seed)
        for name in measured
        if name != "bundle"
        for scenario in scenarios
    ]
