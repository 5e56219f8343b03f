"""What one fresh process times of a language model: prompts of several lengths read, tokens made one by one after each.

The model alone is timed, as for encoders: reading is what it takes to the first token's number, a token is a run over the filled
cache and the choice of the likeliest. Tokenising and detokenising are phases of their own. End tokens are not obeyed, so that all
variants make equally many.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.bench.prompts import TOKENS, main_prompt, scenario_names
from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.cache import rounded
from edgekit.runtime.generate.generation import parse_generation
from edgekit.runtime.generate.model import language_model
from edgekit.runtime.providers.session import open_session

__all__ = ["READ_BYTES", "Step", "cache_tokens", "measure_language", "reading"]

LEAST_ROUNDS = 2
MOST_ROUNDS = 200
READ_BYTES = 128 * 2**20
"""Of each array that `reading` reads: beyond any cache."""


def reading(bytes_each: int = READ_BYTES, threads: int = 1, turns: int = 5) -> float:
    """GB/s at which memory is read once, as decoding reads weights: products of arrays beyond any cache; the best of `turns`.

    The reading kernel of STREAM's kind: `threads` arrays of `bytes_each`, each read by a thread of its own.
    """
    from concurrent.futures import ThreadPoolExecutor

    arrays = np.ones((threads, bytes_each // 8), dtype=np.float64)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(turns):
            started = time.perf_counter()
            list(pool.map(lambda row: float(np.dot(row, row)), arrays))
            best = max(best, arrays.nbytes / (time.perf_counter() - started) / 1e9)
    return best


Step = Callable[[np.ndarray, int], int]
"""(token ids int64 (n,), tokens that a new cache must hold, or 0 to go on with the last one) -> the likeliest token after them."""


def measure_language(
    spec: dict[str, Any],
    since: Callable[[int], float],
    now: Callable[[], int],
    reader: Callable[[Path, int], Step] | None = None,
) -> dict[str, Any]:
    """Samples in milliseconds by scenario, and phases.

    Keys of `spec`: kind ("onnx", or "eager", which `reader`, (folder, threads) -> Step, runs), folder, model, generation (as in a
    manifest), items, provider, threads, session_config, prompts, seconds, min_runs, and spawned (a moment of `now`). Each length is
    repeated until `seconds` have passed and `min_runs` tokens are timed; the first time warms up and is left out.
    """
    from tokenizers import Tokenizer

    folder = Path(spec["folder"])
    started = now()
    step, providers = _opened(spec, folder, reader)
    phases = {"session_ms": since(started)}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with Path(spec["items"]).open(encoding="utf-8") as file:
        texts = [str(json.loads(line)) for line in file]
    started = now()
    encoded = [tokenizer.encode(text).ids for text in texts]
    phases["tokenise_ms"] = since(started) / len(texts)
    ids = np.resize(np.concatenate(encoded).astype(np.int64), max(spec["prompts"]) + MOST_ROUNDS)
    samples: dict[str, list[float]] = {"real": []}
    cpu_ms: dict[str, float] = {"real": 0.0}
    for length in spec["prompts"]:
        first, token = scenario_names(length)
        samples[first], samples[token] = [], []
        until, rounds, cpu = time.perf_counter() + spec["seconds"], 0, time.process_time()
        while rounds <= LEAST_ROUNDS or (
            rounds < MOST_ROUNDS and (time.perf_counter() < until or len(samples[token]) < spec["min_runs"])
        ):
            read, made = _round(step, ids[rounds : rounds + length])
            if "first_run_ms" not in phases:
                phases |= {"first_run_ms": read, "first_answer_ms": since(spec["spawned"])}
            if rounds:
                samples[first].append(read)
                samples[token] += made
            rounds += 1
        cpu_ms[first] = cpu_ms[token] = (time.process_time() - cpu) * 1000 / (rounds * (1 + TOKENS))
    main = scenario_names(main_prompt(spec["prompts"]))[1]
    room = cache_tokens(spec["prompts"], spec["generation"]["context"])
    window = _window(step, ids[: main_prompt(spec["prompts"])], room, spec["seconds"], now)
    samples["real"], cpu_ms["real"] = samples[main], cpu_ms[main]
    started = now()
    for place in range(50):
        tokenizer.decode(ids[: 8 + place % 8].tolist())
    phases["postprocess_ms"] = since(started) / 50
    return {"phases": phases, "samples": samples, "cpu_ms": cpu_ms, "windows": {"real": window}, "providers": providers}


def _opened(spec: dict[str, Any], folder: Path, reader: Callable[[Path, int], Step] | None) -> tuple[Step, list[str]]:
    """(the step of a specification, providers in effect)."""
    if spec["kind"] != "onnx":
        if reader is None:
            raise BadInput("this program runs ONNX models alone", where="bench")
        return reader(folder, spec["threads"]), []
    generation = parse_generation(spec["generation"], str(folder))
    session = open_session(
        folder / spec["model"], provider=spec["provider"], threads=spec["threads"], config=spec["session_config"]
    )
    model = language_model(session, generation, folder / "tokenizer.json", prefix_bytes=0)
    cache = model.graph.empty(1, 1)

    def run(ids: np.ndarray, room: int) -> int:
        nonlocal cache
        if room:
            cache = model.graph.empty(1, rounded(room, generation.context))
            return int(model.graph.read(ids, cache)[: model.tokens].argmax())
        return int(model.graph.run(ids[None], cache)[0, 0, : model.tokens].argmax())

    return run, list(session.get_providers())


def cache_tokens(prompts: list[int], context: int) -> int:
    """Tokens that the largest cache of a measurement has room for: that of the longest prompt, which the window fills too."""
    return rounded(max(prompts) + TOKENS, context)


def _window(step: Step, prompt: np.ndarray, room: int, seconds: float, now: Callable[[], int]) -> tuple[int, int, int]:
    """(begin, end, tokens) of tokens made without a pause until `room` is full, for the supervisor, which reads energy over it."""
    chosen = step(prompt, room)
    begin, made = now(), 0
    while made < room - len(prompt) and now() < begin + seconds * 1e9:
        chosen = step(np.array([chosen]), 0)
        made += 1
    return begin, now(), made


def _round(step: Step, prompt: np.ndarray) -> tuple[float, list[float]]:
    """Milliseconds to the first token after `prompt`, and of each of TOKENS after it."""
    made = []
    started = time.perf_counter()
    chosen = step(prompt, len(prompt) + TOKENS)
    read = (time.perf_counter() - started) * 1000
    for _ in range(TOKENS):
        started = time.perf_counter()
        chosen = step(np.array([chosen]), 0)
        made.append(round((time.perf_counter() - started) * 1000, 4))
    return round(read, 4), made
