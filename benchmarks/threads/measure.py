"""How much faster one answer is on more cores, and what `threads = "auto"` chooses: language models and encoders, interleaved.

    edgekit export benchmarks/threads/wiki28m-int4.toml --no-bench
    edgekit export --model ../shared/models/clinc150-minilm-l6 --name clinc150-minilm --no-bench
    python -m benchmarks.threads.measure --decoder build/wiki28m-int4-x86-vnni --encoder build/clinc150-minilm-x86-vnni [--half] [--rounds 10]

Each round starts a fresh process a subject, in which sessions with 1, 2 … threads take turns run by run. --half: also a decoder with the shapes of
Qwen2.5-0.5B and random weights, as benchmarks.decoders makes it. A talk of eight turns is timed with what was read before kept and read
anew. Writes results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import write_results
from benchmarks.threads.page import HERE, page
from benchmarks.threads.worker import ANSWER, NEW, READ
from edgekit.host import detect
from edgekit.runtime.bench.statistics import ratio_interval, summary
from edgekit.runtime.bundle.open import open_bundle

LENGTHS = (16, 128)
"""Tokens of an encoder's texts."""


def main() -> None:
    """Measure, and write the results and their page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decoder", action="append", default=[], type=Path, help="result folder or bundle of a language model")
    parser.add_argument("--encoder", action="append", default=[], type=Path, help="of another model")
    parser.add_argument("--half", action="store_true", help="also half a billion random weights")
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    subjects = subjects_of(asked.decoder, asked.encoder, half=asked.half)
    before, found = os.getloadavg()[0], measured(subjects, asked.rounds)
    talked = [ask({"do": "talk", "place": str(path)}) for path in asked.decoder[:1] for _ in range(asked.rounds)]
    talker = open_bundle(asked.decoder[0]).manifest.name if talked else ""
    document = {
        "command": f"python -m benchmarks.threads.measure {' '.join(sys.argv[1:])}",
        "chip": detect().cpu, "cores": detect().cores_usable, "load": [round(before, 1), round(os.getloadavg()[0], 1)], "priority": priority(),
        "tools": {name: metadata.version(name) for name in ("onnxruntime", "numpy")},
        "rounds": asked.rounds, "read": READ, "subjects": found, "talk": talk_of(talked, talker),
    }  # fmt: skip
    write_results(HERE / "results.json", document)
    (HERE / "README.md").write_text(page(document), encoding="utf-8")


def subjects_of(decoders: list[Path], encoders: list[Path], *, half: bool) -> list[dict[str, Any]]:
    """What is timed, as a worker is told it, with a name."""
    found: list[dict[str, Any]] = []
    if half:
        from benchmarks.decoders.peers import quantized_graph
        from edgekit.config.quantize import WeightOnly

        place = quantized_graph(WeightOnly(format="int4-weights"))
        found.append(
            {
                "name": "0.5 B random weights, INT4: a token",
                "kind": "decoder",
                "place": str(place),
                "file": "benchmarks.decoders",
                "runs": 30,
            }
        )
    for path in decoders:
        manifest = open_bundle(path).manifest
        sha = manifest.assets[manifest.variant.file].sha256
        found.append({"name": f"{manifest.name}: a token", "kind": "decoder", "place": str(path), "file": sha, "runs": 100})
    for path in encoders:
        manifest = open_bundle(path).manifest
        sha = manifest.assets[manifest.variant.file].sha256
        for length in LENGTHS:
            name = f"{manifest.name}: {length} tokens"
            found.append({"name": name, "kind": "encoder", "place": str(path), "length": length, "file": sha, "runs": 150})
    return found


def measured(subjects: list[dict[str, Any]], rounds: int) -> list[dict[str, Any]]:
    """Figures of each subject: milliseconds with each number of threads, how many times faster than one, and what auto chooses."""
    autos = [[ask({**subject, "do": "auto"}) for _ in range(3)] for subject in subjects]
    runs: list[dict[str, list[list[float]]]] = [{} for _ in subjects]
    burnt: list[dict[str, list[float]]] = [{} for _ in subjects]
    for number in range(rounds):
        for subject, own, wasted in zip(subjects, runs, burnt, strict=True):
            for name, values in ask({**subject, "do": "time", "round": number}).items():
                own.setdefault(name, []).append(values["ms"])
                wasted.setdefault(name, []).extend(values["burnt_ms"])
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return [
        {
            "name": subject["name"], "file": subject["file"], "auto": auto,
            "variants": {
                name: {"p50_ms": (middle := summary(values, 0))["p50_ms"], "ci95_ms": middle["ci95_ms"], "burnt_ms": float(np.median(wasted[name]))}
                | ({} if name == "1" else {"faster": ratio_interval(own["1"], values, 0)})
                for name, values in own.items()
            },
        }
        for subject, auto, own, wasted in zip(subjects, autos, runs, burnt, strict=True)
    ]  # fmt: skip


def talk_of(talks: list[list[dict[str, Any]]], name: str) -> dict[str, Any]:
    """Medians over talks of each turn."""
    turns = [
        {
            "turn": number + 1, "prompt": rows[0]["prompt"], "same": all(row["same"] for row in rows),
            **{key: round(float(np.median([row[key] for row in rows])), 3) for key in ("kept_ms", "anew_ms")},
        }
        for number, rows in enumerate(zip(*talks, strict=True))
    ]  # fmt: skip
    return {"model": name, "new": NEW, "answer": ANSWER, "turns": turns}


def priority() -> str:
    """Which share of the cores this gets where others want them too: Linux weighs groups of processes before processes."""
    group = Path("/proc/self/autogroup")
    return (
        f"nice {os.nice(0)}, {group.read_text(encoding='utf-8').split(' ', 1)[1].strip()} of its group"
        if group.exists()
        else f"nice {os.nice(0)}"
    )


def ask(what: dict[str, Any]) -> Any:
    """What a fresh worker says."""
    command = [sys.executable, "-m", "benchmarks.threads.worker", json.dumps(what)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
