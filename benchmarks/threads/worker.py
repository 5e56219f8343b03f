"""One fresh process of `benchmarks.threads.measure`: its variants of one subject, asked in turn; prints one JSON object."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.bench.measure import feeds, fixed_length
from edgekit.runtime.bundle.golden import parse_golden
from edgekit.runtime.bundle.names import GENERATION, MODEL
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.chip import usable_cores
from edgekit.runtime.generate.cache import Prefixes
from edgekit.runtime.generate.generation import parse_generation
from edgekit.runtime.generate.graph import Graph, check_graph
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.model import checked, load
from edgekit.runtime.processors import processor
from edgekit.runtime.providers.session import open_session
from edgekit.runtime.threads import fastest

READ = 128
"""Tokens in the cache before those that are timed."""
WAITING = {
    "asleep": {"session.intra_op.allow_spinning": "0"}, "spinning in a run": {"session.force_spinning_stop": "1"}, "spinning": {},
}  # fmt: skip
"""What threads do that wait for work: sleep, try again and again until the run ends, or for a while after it too (ONNX Runtime's default)."""
TARGETS = "spinning in a run"
"""As shipped targets have it."""
BLOCKS, PAUSE = 3, 0.05
"""Times that each variant's turn comes in a process, and seconds after each, in which threads that spin give up."""
WARM = 3
"""Runs at the beginning of a turn that do not count."""
TURNS, NEW, ANSWER = 8, 60, 60
"""A talk: its turns, and tokens that a user and the model say in each."""


def main() -> None:
    """Do what the JSON in the only argument asks for."""
    asked = json.loads(sys.argv[1])
    work = {"time": times, "auto": auto, "talk": talk}[asked["do"]]
    print(json.dumps(work(asked)))


def begin(asked: dict[str, Any], threads: int, waiting: str = TARGETS) -> Callable[[], object]:
    """What is timed: one token of a decoder after READ, or one answer of an encoder to a text of some length."""
    config = WAITING[waiting]
    if asked["kind"] == "decoder":
        graph = decoder_graph(Path(asked["place"]), threads, config)
        cache = graph.empty(1, 2 * READ)
        ids = np.random.default_rng(0).integers(0, graph.vocabulary, READ)
        graph.read(ids, cache)
        token = ids[None, :1]

        def one_token() -> None:
            if cache.lengths[0] == cache.capacity:
                cache.lengths[:] = READ
            graph.run(token, cache)

        return one_token
    bundle = checked(asked["place"])
    model = load(asked["place"], threads=1)
    session = open_session(bundle.folder / MODEL, threads=threads, config=config)
    windows = [
        processor(bundle.manifest.task).prepare(model.reader, row.input) for row in parse_golden(bundle.folder, bundle.manifest)
    ]
    inputs = feeds([fixed_length(windows, asked["length"])], [item.name for item in session.get_inputs()])
    return lambda: session.run(None, inputs[0])


def decoder_graph(place: Path, threads: int, config: dict[str, str]) -> Graph:
    """The graph of a bundle, or of a folder with a graph and generation.json."""
    folder, path = place, place / GENERATION
    if path.is_file():
        generation = parse_generation(json.loads(path.read_text(encoding="utf-8")))
    else:
        bundle = open_bundle(place)
        assert bundle.manifest.generation is not None
        folder, generation = bundle.folder, bundle.manifest.generation
    return check_graph(open_session(folder / MODEL, threads=threads, config=config), generation)


def times(asked: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of runs of each variant, whose blocks take turns; and of a core that it burns in PAUSE after the last of a block."""
    cores = usable_cores(1024)
    counts = [1 << power for power in range(1, cores.bit_length()) if 1 << power <= cores]
    works = {"1": begin(asked, 1)} | {
        f"{count}, {waiting}": begin(asked, count, waiting) for count in counts for waiting in WAITING
    }
    found: dict[str, dict[str, list[float]]] = {name: {"ms": [], "burnt_ms": []} for name in works}
    order = np.random.default_rng(asked["round"])
    for _ in range(BLOCKS):
        for name in order.permutation(list(works)):
            for run in range(-WARM, asked["runs"]):
                started = time.perf_counter()
                works[name]()
                if run >= 0:
                    found[name]["ms"].append(round(1000 * (time.perf_counter() - started), 4))
            spent = time.process_time()
            time.sleep(PAUSE)
            found[name]["burnt_ms"].append(round(1000 * (time.process_time() - spent), 4))
    return found


def auto(asked: dict[str, Any]) -> dict[str, Any]:
    """What `auto` finds out here, and how long that takes."""
    started = time.perf_counter()
    best, trials, calm = fastest(usable_cores(1024), lambda count: begin(asked, count))
    milliseconds = {str(count): [round(1000 * one, 4) for one in seconds] for count, seconds in trials.items()}
    return {"threads": best, "trials_ms": milliseconds, "undisturbed": calm, "seconds": round(time.perf_counter() - started, 2)}


def talk(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Milliseconds to the first token of each turn of a talk, with what was read before kept, and read anew; the answers are compared."""
    source = load(asked["place"], threads=usable_cores(1024)).language
    assert source is not None
    keeping, anew = replace(source, prefixes=Prefixes()), replace(source, prefixes=Prefixes(0))
    draw = np.random.default_rng(0)
    ids = np.zeros(0, dtype=np.int64)
    for model in (keeping, anew):
        model.generate(draw.integers(3, source.tokens, NEW), Sampling(max_new_tokens=ANSWER))  # warm, and too short to be kept
    turns = []
    for number in range(TURNS):
        ids = np.concatenate([ids, draw.integers(3, source.tokens, NEW)])
        row: dict[str, Any] = {"turn": number + 1, "prompt": len(ids)}
        answers = []
        for name, model in (("kept_ms", keeping), ("anew_ms", anew)):
            started = time.perf_counter()
            pieces = model.stream(ids, Sampling(max_new_tokens=ANSWER))
            first = next(pieces)
            row[name] = round(1000 * (time.perf_counter() - started), 3)
            answers.append([first.token, *(piece.token for piece in pieces)])
        row["same"] = answers[0] == answers[1]
        ids = np.concatenate([ids, np.array(answers[0], dtype=np.int64)])
        turns.append(row)
    return turns


if __name__ == "__main__":
    main()
