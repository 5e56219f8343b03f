"""Pruned and distilled shapes of wiki-28m at the same cost of training: every arm by every seed, in several processes a GPU.

    python -m benchmarks.language_compression.compare --minutes 20 --gpus 0,1 --workers 7
    python -m benchmarks.language_compression.page

Models: wiki-28m, a Llama of 27.8 million weights trained on 14 million tokens of Wikipedia; every step is edgekit's own. Rows: the first of
those that it was trained on. Learning rates are chosen on Wikipedia's first validation documents; scored is on all others, and on
Wikitext-2's test text. What a folder `--state` holds already is not made again: with less time than everything takes, what is worth most
comes first, and a second run goes on.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import multiprocessing
import os
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from benchmarks.language_compression.texts import make_rows, windows_of
from benchmarks.language_compression.worker import ORIGINAL, WINDOWS, Plan, costs, jobs_of, scores, work_off

ROOT = Path(__file__).resolve().parents[2]
PACKED = 20.0
"""Seconds between two times that the results are packed."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models", help="folder that holds wiki-28m")
    parser.add_argument("--model", default="wiki-28m", help="which of them")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data", help="folder that holds wikipedia and wikitext2")
    parser.add_argument("--state", type=Path, default=ROOT / "build/language-compression")
    parser.add_argument("--out", type=Path, help="folder that the packed results go to; by default the state's")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--gpus", default="", help="their numbers, such as 0,1; none for the CPU")
    parser.add_argument("--workers", type=int, default=7, help="processes a GPU")
    parser.add_argument(
        "--tokens",
        type=int,
        default=1_200_000,
        help="on which four of eight blocks are taught, by which the cost of every training is set",
    )
    parser.add_argument("--rows", type=float, default=4.0, help="of how many times so many tokens there are training rows")
    parser.add_argument("--windows", type=int, default=10**6, help="of each text, at most")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    asked = parser.parse_args()
    started = time.time()
    model, state = (asked.models / asked.model).resolve(), asked.state.resolve()
    rows = prepared(model, asked.data, state, round(asked.rows * asked.tokens), asked.windows)
    plan = Plan(
        model, state, tuple(asked.seeds), rows["rows"], rows["tokens"], asked.tokens, "bf16" if asked.gpus else "fp32",
        started + 60 * asked.minutes,
    )  # fmt: skip
    gpus = asked.gpus.split(",") if asked.gpus else [""]
    places = [gpu for _ in range(asked.workers) for gpu in gpus]
    processes = [_started(plan, gpu) for gpu in places]
    out = (asked.out or state).resolve()
    packed = 0.0
    while any(process.is_alive() for process in processes) and time.time() < plan.until:
        for number, process in enumerate(processes):
            if process.exitcode not in (None, 0):  # its job stays claimed, and the others are done by another one
                print(f"a worker ended with {process.exitcode}", flush=True)
                processes[number] = _started(plan, places[number])
        if time.time() - packed > PACKED:
            pack(state, out)
            packed = time.time()
        time.sleep(1)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    pack(state, out)
    made = len(list((state / "results").glob("*.json"))) - 1
    print(f"{made} of {len(jobs_of(plan.seeds))} jobs done, {time.time() - started:.0f} s", flush=True)
    return 0


def prepared(model: Path, data: Path, state: Path, tokens: int, windows: int) -> dict[str, int]:
    """Make rows and windows, score the original, and forget claims of processes that are gone; returns how many rows there are."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = state / "rows.json"
        if not record.is_file():
            tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
            counts = make_rows(tokenizer, data / "wikipedia", state / "rows", tokens)
            np.savez(state / WINDOWS, **windows_of(tokenizer, data, windows))  # type: ignore[arg-type]
            (state / ORIGINAL).unlink(missing_ok=True)
            facts = {"name": "the original", "scores": scores(model, state), **costs(model), "rows": counts, "seconds": 0}
            (state / "results").mkdir(exist_ok=True)
            (state / "results" / "original.json").write_text(json.dumps({"recovery": None, **facts}))
            record.write_text(json.dumps(counts))
        for claim in (state / "claims").glob("*") if (state / "claims").is_dir() else ():
            result = state / "results" / f"{claim.name}.json"
            if not result.is_file() and not Path(f"/proc/{claim.read_text() or 0}").exists():
                claim.unlink()
        found: dict[str, int] = json.loads(record.read_text())
    return found


def _started(plan: Plan, gpu: str) -> multiprocessing.process.BaseProcess:
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    process = multiprocessing.get_context("spawn").Process(target=work_off, args=(plan,), daemon=True)
    process.start()
    return process


def pack(state: Path, out: Path) -> None:
    """Write all results so far to one file."""
    out.mkdir(parents=True, exist_ok=True)
    part = out / f".results-{os.getpid()}"
    with tarfile.open(part, "w:xz") as archive:
        for path in sorted((state / "results").glob("*.json")):
            archive.add(path, path.name)
    os.replace(part, out / "results.tar.xz")


if __name__ == "__main__":
    sys.exit(main())
