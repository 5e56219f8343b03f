"""How much faster a language model answers when next tokens are guessed from the text so far, which changes no token.

    python -m benchmarks.speculation.compare [--models ../shared/models] [--data ../shared/data] [--rounds 3] [--threads 2]
    python -m benchmarks.speculation.compare --code FOLDER [--rounds 3] [--threads 2]

The model is wiki-28m (Llama, 27.8 M weights) with its weights in 4 bits, blocks of 32. Every round asks every prompt plainly and with
guesses, one after the other in a random order, both over one ONNX Runtime session; what is timed is from the first token to the last. Each
side keeps what it has learned from one prompt to the next, as a server does. Writes results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.pages import write_results
from benchmarks.speculation.page import page
from benchmarks.speculation.texts import Asked, coding, free, quoting
from edgekit.config.quantize import WeightOnly
from edgekit.config.target import load_target
from edgekit.exporter.decoder import export_decoder
from edgekit.progress import silent
from edgekit.quantize.decoder import quantize_decoder
from edgekit.runtime.bundle.names import GENERATION, MODEL
from edgekit.runtime.bundle.onnx_file import read_graph
from edgekit.runtime.chip import parse_cpuinfo, read_text
from edgekit.runtime.generate.cache import Prefixes
from edgekit.runtime.generate.generation import parse_generation
from edgekit.runtime.generate.model import LanguageModel, language_model
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.generate.speculate import WIDTHS, Reader, Speculation, unlike_alone
from edgekit.runtime.providers.session import open_session

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "speculation"
RESULTS, CODE, DRAFTED = "results.json", "code.json", "drafted.json"
CONTEXT, TOKENS = 1024, 96
TARGET = "x86-vnni"
"""Whose bundles open their sessions so: threads spin within a run and sleep between runs. Those of two sessions that spin on fight for the cores."""
DRAWS = 2000
"""Bootstrap resamples, over prompts."""
SETS: dict[str, tuple[str, Sampling | None]] = {
    "quoting, answers as asked": ("quoting", None),
    "quoting, its own answers": ("quoting", Sampling(max_new_tokens=TOKENS)),
    "free, likeliest tokens": ("free", Sampling(max_new_tokens=TOKENS)),
    "free, drawn tokens": ("free", Sampling(max_new_tokens=TOKENS, temperature=1.0, seed=7)),
}
"""Name -> (prompts, settings; None: the written answers, token for token)."""
CODING: dict[str, tuple[str, Sampling | None]] = {
    "coding, answers as asked": ("coding", None),
    "coding, its own answers": ("coding", Sampling(max_new_tokens=TOKENS)),
    "coding, drawn tokens": ("coding", Sampling(max_new_tokens=TOKENS, temperature=1.0, seed=7)),
}
"""The same of the code model."""


@dataclass
class Timed:
    """One prompt of one set, asked on one side."""

    seconds: list[float] = field(default_factory=list)
    tokens: tuple[int, ...] = ()
    drafted: int = 0
    accepted: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models", help="folder that holds wiki-28m")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data", help="folder that holds squad and wikipedia")
    parser.add_argument("--code", type=Path, help="folder of code_model.py's checkpoint: measured instead of wiki-28m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    if asked.code is not None:
        prompts, sets = {"coding": coding()}, CODING
    else:
        prompts, sets = (
            {
                "quoting": quoting(asked.data / "squad/validation.jsonl.gz"),
                "free": free(asked.data / "wikipedia/validation.jsonl.xz"),
            },
            SETS,
        )
    sides = opened(asked.code or asked.models / "wiki-28m", asked.threads)
    found = measured(sides, prompts, asked.rounds, sets)
    speculation = sides[1].speculation
    assert speculation is not None, "opened so"
    document = {
        "command": "python -m benchmarks.speculation.compare "
        + ("--code FOLDER " if asked.code is not None else "")
        + f"--rounds {asked.rounds} --threads {asked.threads}",
        "model": f"{'code-28m' if asked.code is not None else 'wiki-28m'}, INT4 in blocks of 32, embeddings in 8 bits",
        "chip": parse_cpuinfo(read_text(Path("/proc/cpuinfo"))).model,
        "load": {"before": round(load, 1), "after": round(os.getloadavg()[0], 1)},
        "rounds": asked.rounds,
        "threads": asked.threads,
        "onnxruntime": metadata.version("onnxruntime"),
        "python": ".".join(map(str, sys.version_info[:3])),
        "costs": {str(width): round(speculation.cost(width), 3) for width in WIDTHS},
        "proved": sorted(speculation.proved),
        "fault": speculation.fault,
        "sets": [
            summary(f"{name}: {kind}", [row for row in rows if row[0].kind == kind])
            for name, rows in found.items()
            for kind in dict.fromkeys(row[0].kind for row in rows)
        ]
        + [summary(name, rows) for name, rows in found.items()],
    }
    if asked.code is not None:
        document["made"] = json.loads((asked.code / "made.json").read_text(encoding="utf-8"))
    write_results(HERE / (RESULTS if asked.code is None else CODE), document)
    write_page()
    return 0


def write_page() -> None:
    """README.md from the results that lie beside it."""
    found = (json.loads((HERE / name).read_text(encoding="utf-8")) for name in (RESULTS, CODE, DRAFTED))
    (HERE / "README.md").write_text(page(*found), encoding="utf-8")


def opened(source: Path, threads: int) -> tuple[LanguageModel, LanguageModel]:
    """(the model that reads one token a run, the one that guesses), over one session."""
    plain, fault = model_of(source, "int4-weights", threads)
    return plain, replace(plain, prefixes=Prefixes(), speculation=Speculation(plain.graph, fault))


def model_of(source: Path, number_format: NumberFormat, threads: int) -> tuple[LanguageModel, str | None]:
    """(the model of the checkpoint `source` in a number format, which no end token ends; why rows of one run are not what they are alone)."""
    whole = BUILD / source.name / "float32"
    folder = BUILD / source.name / number_format
    if not (whole / GENERATION).is_file():
        whole.mkdir(parents=True, exist_ok=True)
        export_decoder(source, whole, max_length=CONTEXT, progress=silent)
    if not (folder / GENERATION).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        assert number_format != "float32", "exported so"
        quantize_decoder(whole, folder, WeightOnly(format=number_format))
        (folder / GENERATION).write_text((whole / GENERATION).read_text())
    generation = replace(parse_generation(json.loads((folder / GENERATION).read_text())), eos=())
    session = open_session(folder / MODEL, threads=threads, config=load_target(TARGET).session.config)
    model = language_model(session, generation, source / "tokenizer.json")
    return model, unlike_alone(read_graph(folder / MODEL), model.graph)


NumberFormat = Literal["float32", "int8-weights", "int4-weights"]
Row = tuple[Asked, Timed, Timed]
"""A prompt, plainly and with guesses."""


def measured(
    sides: Sequence[LanguageModel], prompts: dict[str, list[Asked]], rounds: int, sets: dict[str, tuple[str, Sampling | None]]
) -> dict[str, list[Row]]:
    """Every set's prompts, asked in every round on both sides."""
    draw = random.Random(7)
    found = {name: [(one, Timed(), Timed()) for one in prompts[kind]] for name, (kind, _) in sets.items()}
    for number in range(rounds):
        for name, (_, sampling) in sets.items():
            for place, row in enumerate(found[name]):
                print(f"\rround {number + 1} of {rounds}: {name}, {place + 1} of {len(found[name])}   ", end="", flush=True)
                for side in draw.sample((0, 1), 2):
                    ask(sides[side], row[0], sampling, row[1:][side])
                assert row[1].tokens == row[2].tokens, "guesses change no token"
    print()
    return found


def ask(model: LanguageModel, asked: Asked, sampling: Sampling | None, timed: Timed) -> None:
    """Ask once, and take note of it."""
    ids = model.encode(asked.prompt)[: CONTEXT - TOKENS]
    if sampling is None:
        said(model, ids, model.encode(asked.answer)[:TOKENS].tolist(), timed)
        return
    pieces, start = [], 0.0
    for piece in model.stream(ids, sampling):
        start = start or time.perf_counter()
        pieces.append(piece)
    timed.seconds.append(time.perf_counter() - start)
    timed.tokens = tuple(piece.token for piece in pieces if piece.token is not None)
    timed.drafted, timed.accepted = sum(piece.drafted for piece in pieces), sum(piece.accepted for piece in pieces)


def said(model: LanguageModel, ids: np.ndarray, answer: list[int], timed: Timed) -> None:
    """Have the model say `answer`: its logits are computed for every token and not asked."""
    cache = model.graph.empty(1, CONTEXT)
    model.prefixes.begin(ids, cache, model.graph.block)
    model.graph.read(ids, cache)
    model.prefixes.keep(ids, cache, model.graph.block)
    text = ids.tolist()
    drafted = accepted = 0
    reader = None if model.speculation is None else Reader(model.speculation, text, len(text) + len(answer), cache)
    start = time.perf_counter()
    for token in answer[:-1]:
        text.append(token)
        if reader is None:
            model.graph.run(np.array([[token]]), cache)
            continue
        reader.logits()
        drafted, accepted = drafted + reader.drafted, accepted + reader.accepted
    timed.seconds.append(time.perf_counter() - start)
    if reader is not None:
        reader.close()
    timed.tokens, timed.drafted, timed.accepted = tuple(answer), drafted, accepted


def summary(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Medians over rounds of each prompt; over prompts the ratio of their sums, with a 95% bootstrap interval, and quantiles of their own ratios."""
    plain, guessed = (np.array([np.median(row[1:][side].seconds) for row in rows]) for side in (0, 1))
    picks = np.random.default_rng(7).integers(0, len(rows), size=(DRAWS, len(rows)))
    low, high = np.percentile(plain[picks].sum(axis=1) / guessed[picks].sum(axis=1), [2.5, 97.5])
    tokens = sum(len(row[1].tokens) - 1 for row in rows)
    drafted, accepted = sum(row[2].drafted for row in rows), sum(row[2].accepted for row in rows)
    return {
        "name": name,
        "prompts": len(rows),
        "tokens": tokens,
        "plain_tokens_per_s": round(tokens / float(plain.sum()), 1),
        "tokens_per_s": round(tokens / float(guessed.sum()), 1),
        "faster_by": round(float(plain.sum() / guessed.sum()), 4),
        "ci95": [round(float(low), 4), round(float(high), 4)],
        "of_prompts": [round(float(one), 3) for one in np.quantile(plain / guessed, [0.1, 0.5, 0.9])],
        "drafted": drafted,
        "accepted": accepted,
    }


if __name__ == "__main__":
    sys.exit(main())
