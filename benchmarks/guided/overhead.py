"""What a form costs a language model's answers, and whether every finished answer keeps it: 50 JSON schemas, 20 prompts each.

    python -m benchmarks.guided.overhead [--model ../shared/models/wiki-28m] [--threads 1]
    python -m benchmarks.guided.overhead --greedy --every 10

The model in INT4 (blocks of 32, clipped, embeddings in INT8) is made in build/guided. Of each pair of a schema and a prompt, one after the
other in a drawn order: the answer held to the schema; the same, with every token chosen by the model's own run, though only one can come;
and a plain answer of as many tokens. Sampled at temperature 0.8 or greedy, up to 200 tokens, time from the first piece on. Finished answers
are checked by jsonschema. Writes results.json, or greedy.json, and README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np

from benchmarks.guided.page import write_page
from benchmarks.pages import write_results
from edgekit.config.quantize import WeightOnly
from edgekit.exporter.decoder import export_decoder
from edgekit.host import detect
from edgekit.progress import Show
from edgekit.quantize.decoder import quantize_decoder
from edgekit.runtime.bundle.names import GENERATION
from edgekit.runtime.generate import answer
from edgekit.runtime.generate.generation import parse_generation
from edgekit.runtime.generate.model import LanguageModel, language_model
from edgekit.runtime.generate.sample import Sampling, parse_sampling
from edgekit.runtime.providers.session import open_session

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "guided"
SEED, TOKENS, TEMPERATURE = 7, 200, 0.8
MAX_LENGTH = 256
WAYS = ("held", "held, one by one", "plain")


def main() -> None:
    """Parse, make, time, write."""
    parser = argparse.ArgumentParser(description="What a form costs.")
    parser.add_argument("--model", type=Path, default=Path("../shared/models/wiki-28m"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--greedy", action="store_true")
    parser.add_argument("--every", type=int, default=1, help="of the prompts: each n-th")
    asked = parser.parse_args()
    language = made(asked.model.resolve(), asked.threads)
    given = json.loads((HERE / "asked.json").read_text(encoding="utf-8"))
    endless = replace(language, generation=replace(language.generation, eos=()))
    temperature = 0.0 if asked.greedy else TEMPERATURE
    draw, pairs, compiled = random.Random(SEED), [], []
    for name, schema in given["schemas"].items():
        compiled.append({"schema": name, **_compiled(language, schema)})
        for number, prompt in enumerate(given["prompts"][:: asked.every]):
            pairs.append({"schema": name, "prompt": number, **_pair(language, endless, schema, prompt, draw, temperature)})
        print(f"{name}: {sum(pair['ended'] == 'stop' for pair in pairs if pair['schema'] == name)} finished", file=sys.stderr)
    document = {
        "command": shlex.join(["python", "-m", "benchmarks.guided.overhead", *sys.argv[1:]]),
        "machine": {"chip": detect().cpu, "cores": os.cpu_count(), "threads": asked.threads},
        "schemas": len(given["schemas"]), "prompts": len(given["prompts"][:: asked.every]), "compiled": compiled, "pairs": pairs,
        "totals": totals(pairs, compiled),
    }  # fmt: skip
    write_results(HERE / ("greedy.json" if asked.greedy else "results.json"), document)
    write_page(HERE, HERE / "README.md")


def made(checkpoint: Path, threads: int) -> LanguageModel:
    """The model in INT4, made once."""
    whole, small = BUILD / "float32", BUILD / "int4"
    if not (small / GENERATION).exists():
        with Show().stage("wiki-28m in INT4") as progress:
            for folder in (whole, small):
                folder.mkdir(parents=True, exist_ok=True)
            export_decoder(checkpoint, whole, max_length=MAX_LENGTH, progress=progress)
            quantize_decoder(whole, small, WeightOnly(format="int4-weights", block=32, embeddings="int8"), progress=progress)
        (small / GENERATION).write_bytes((whole / GENERATION).read_bytes())
    generation = parse_generation(json.loads((small / GENERATION).read_text(encoding="utf-8")))
    return language_model(open_session(small / "model.onnx", threads=threads), generation, checkpoint / "tokenizer.json")


def totals(pairs: list[dict[str, Any]], compiled: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over all pairs; shares of time with 95% intervals by a bootstrap over schemas."""
    finished = [pair for pair in pairs if pair["ended"] == "stop"]
    ways = {way: [pair for pair in pairs if pair["ms"][way] is not None] for way in WAYS}
    return {
        "answers": len(pairs), "finished": len(finished), "valid": sum(pair["valid"] for pair in finished),
        "tokens": sum(pair["tokens"] for pair in pairs),
        "ms_a_token": {way: _per_token(found, way) for way, found in ways.items()},
        "extra": {way: _extra(pairs, way) for way in WAYS[:2]},
        "compile_ms": {"median": statistics.median(one["ms"] for one in compiled), "most": max(one["ms"] for one in compiled)},
    }  # fmt: skip


def _compiled(language: LanguageModel, schema: Any) -> dict[str, float]:
    constraint = parse_sampling({"json_schema": schema}).constraint
    assert constraint is not None
    began = time.perf_counter()
    language.guides.compile(constraint)
    return {"ms": 1000 * (time.perf_counter() - began)}


def _pair(
    language: LanguageModel, endless: LanguageModel, schema: Any, prompt: str, draw: random.Random, temperature: float
) -> dict[str, Any]:
    """One answer each way; a plain one has as many tokens as the held ones, which are the same."""
    seed = draw.randrange(2**31)
    held = parse_sampling({"json_schema": schema, "temperature": temperature, "seed": seed, "max_new_tokens": TOKENS})
    first = language.generate(prompt, held)  # how many tokens it has; its prompt is in the cache for all ways alike
    plain = Sampling(temperature=temperature, seed=seed, max_new_tokens=len(first.tokens))
    ms: dict[str, float | None] = {}
    together = answer.MOST_CERTAIN
    for way in draw.sample(WAYS, len(WAYS)):
        answer.MOST_CERTAIN = 0 if way == "held, one by one" else together
        ms[way] = _timed(endless, prompt, plain) if way == "plain" else _timed(language, prompt, held)
    answer.MOST_CERTAIN = together
    valid = first.ended == "stop" and _valid(schema, first.text)
    return {"ended": first.ended, "tokens": len(first.tokens), "valid": valid, "text": first.text, "ms": ms}


def _valid(schema: Any, text: str) -> bool:
    try:
        jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER).validate(
            json.loads(text)
        )
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def _timed(language: LanguageModel, prompt: str, sampling: Sampling) -> float | None:
    """Milliseconds from an answer's first piece to its last one; None where it has one alone."""
    moments = [time.perf_counter() for _ in language.stream(prompt, sampling)]
    return 1000 * (moments[-1] - moments[0]) if len(moments) > 1 else None


def _per_token(pairs: list[dict[str, Any]], way: str) -> float:
    return float(sum(pair["ms"][way] for pair in pairs) / sum(pair["tokens"] - 1 for pair in pairs))


def _extra(pairs: list[dict[str, Any]], way: str) -> dict[str, Any]:
    """Time beyond plain answers, as a share of theirs: the median of all pairs' shares, and its interval."""
    ratios: dict[str, list[float]] = {}
    for pair in pairs:
        if pair["ms"]["plain"] is not None and pair["ms"][way] is not None and pair["tokens"] >= 8:
            ratios.setdefault(pair["schema"], []).append(pair["ms"][way] / pair["ms"]["plain"] - 1)
    groups = list(ratios.values())
    generator = np.random.default_rng(SEED)
    drawn = [
        float(np.median(np.concatenate([groups[index] for index in generator.integers(0, len(groups), len(groups))])))
        for _ in range(2000)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "median": float(np.median(np.concatenate(groups))),
        "ci95": [float(low), float(high)],
        "pairs": sum(map(len, groups)),
    }


if __name__ == "__main__":
    main()
