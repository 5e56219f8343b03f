"""The GPU lane: bundles for NVIDIA targets checked and measured on a GPU, beside PyTorch in float16 on the same GPU.

    make test-cuda [FLAGS=--dry-run]                        # all of what follows, tests/cuda first
    python -m benchmarks.cuda.lane all [--dry-run]           # the same, where there is no package registry
    python -m benchmarks.cuda.lane prepare                   # anywhere: what travels, under build/cuda
    python -m benchmarks.cuda.lane measure [--parts ...]     # on the GPU: results.json
    python -m benchmarks.cuda.lane page                      # README.md from results.json

--dry-run does it all on a CPU, with bundles of models that are trained in seconds, at tiny sizes, and writes nothing here. `measure`
needs no network and of edgekit's own needs only numpy, onnxruntime-gpu and tokenizers for bundles; torch and transformers are the
peers, accelerate and pydantic what distils. Parts already in the results file are kept, so parts may be measured one after the other.

Exit codes: 0 measured, 1 a check does not hold, 2 bad usage, 3 not possible on this machine (it says why), 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.cuda import decoders, encoders, machine, two_gpus
from benchmarks.cuda.page import page
from benchmarks.pages import write_results
from edgekit.runtime.errors import EdgekitError, Interrupted, NotPossibleHere

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"
BUILD = ROOT / "build" / "cuda"
BATCHES, LENGTHS = [1, 8, 32, 128, 256], [16, 128, 512]
COMPILED = {(batch, length) for batch in BATCHES for length in LENGTHS}
AUTOTUNED = {(1, 16)}
"""Shapes that are compiled for: two seconds each, and 40 where kernels are tried out."""


def measure(place: Path, device: str, parts: list[str], out: Path, args: argparse.Namespace) -> None:
    """Measure `parts` ("machine", "decoder", or a bundle's name), writing `out` after each."""
    document: dict[str, Any] = (
        json.loads(out.read_text()) if out.is_file() else {"schema_version": 1, "encoders": {}, "checks": {}}
    )
    dry = device == "cpu"
    for part in parts:  # in order; a part that fails ends the run, and those before it are kept
        start = time.perf_counter()
        why = machine.missing_for(part, device)
        if why:
            document.setdefault("not_run", {})[part] = why
            print(f"{part}: not run, as {why}", flush=True)
        elif part == "machine":
            document["machine"] = machine.facts(device) | {"ceilings": machine.ceilings(device)}
        elif part == "decoder":
            folder = place / "decoder"
            decoders.make(folder, tiny=dry)
            document["decoder"] = decoders.measure(
                folder, device, batches=[1, 2] if dry else [1, 8], rounds=args.rounds, seconds=args.seconds
            )
        elif part == "distill":
            document["distill"] = two_gpus.measure(place / part, device)
        else:
            document["checks"][part] = encoders.check(place / part, device, 50 if dry else 1_000_000)
            print(part, json.dumps(document["checks"][part]), flush=True)
            if not (place / part / "peer").is_dir():
                document["pipeline"] = True  # a language model, as `edgekit export` makes it
        if why is None:
            document.get("not_run", {}).pop(part, None)
        if why is None and (place / part / "peer").is_dir():  # of language models the larger one alone is timed
            document["encoders"][part] = encoders.measure(
                place / part, device, batches=[1, 2] if dry else BATCHES, lengths=[16] if dry else LENGTHS, rounds=args.rounds,
                seconds=args.seconds, compiled=set() if args.no_compile else COMPILED, autotuned=set() if args.no_compile else AUTOTUNED,
            )  # fmt: skip
        document.setdefault("seconds", {})[part] = time.perf_counter() - start
        if device == "cuda":
            document.setdefault("states", {})[part] = machine.state()
        document["command"] = f"python -m benchmarks.cuda.lane measure --rounds {args.rounds} --seconds {args.seconds:g}"
        write_results(out, document)
        print(f"{part}: {document['seconds'][part]:.0f} s", flush=True)


def everything(args: argparse.Namespace) -> None:
    """Tests, bundles, measurement and page; where bundles were carried here they are taken as they are."""
    if importlib.util.find_spec("pytest") is None:
        print("tests/cuda: not run, as pytest is not installed", flush=True)
    else:
        subprocess.run([sys.executable, "-m", "pytest", "-rs", str(ROOT / "tests" / "cuda")], cwd=ROOT, check=True)
    if args.dry_run:
        from benchmarks.cuda.prepare import prepare
        from benchmarks.cuda.tiny import recipes

        with tempfile.TemporaryDirectory() as folder:
            encoder, decoder = recipes(Path(folder) / "recipes")
            args.build = Path(folder) / "cuda"
            prepare(args.build, Path(folder) / "build", [encoder], [decoder])
            measure_parts(args)
        return
    if not list(args.build.glob("*/bundle")):
        from benchmarks.cuda.prepare import prepare  # reads recipes and targets, which a machine with a GPU need not be able to

        prepare(args.build, ROOT / "build")
    measure_parts(args)
    write_page(args.out)


def measure_parts(args: argparse.Namespace) -> None:
    """`measure` of what was asked for, or of all that is there."""
    there = sorted(path.parent.name for path in args.build.glob("*/bundle"))
    distilled = ["distill"] if (args.build / "distill" / "facts.json").is_file() else []
    parts = args.parts or ["machine", *there, "decoder", *distilled]
    if args.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            measure(args.build, "cpu", parts, Path(folder) / "results.json", args)
            print("dry run: all parts ran on the CPU; nothing was written", flush=True)
        return
    measure(args.build, "cuda", parts, args.out, args)


def write_page(results: Path) -> None:
    """README.md beside this file, from `results`."""
    (HERE / "README.md").write_text(page(json.loads(results.read_text(encoding="utf-8"))), encoding="utf-8")


def main() -> int:
    """What the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["all", "prepare", "make-decoder", "measure", "page"])
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--parts", nargs="*")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.06, help="how long each variant runs in a round")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, tiny")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    args = parser.parse_args()
    try:
        return asked(args)
    except EdgekitError as fault:
        print(f"benchmarks.cuda.lane: {fault.text()}", file=sys.stderr)
        return fault.exit_code
    except subprocess.CalledProcessError as fault:
        print(f"benchmarks.cuda.lane: {' '.join(map(str, fault.cmd[:6]))} ended with {fault.returncode}", file=sys.stderr)
        return fault.returncode if fault.returncode in (1, 2, 3, 130) else 1
    except (Interrupted, KeyboardInterrupt):
        return 130


def asked(args: argparse.Namespace) -> int:
    if args.what in ("all", "measure") and not args.dry_run and (why := machine.missing()):
        raise NotPossibleHere(
            why, fix="install onnxruntime-gpu on a machine with an NVIDIA GPU, or add --dry-run to rehearse on a CPU"
        )
    if args.what == "all":
        everything(args)
    elif args.what == "prepare":
        from benchmarks.cuda.prepare import prepare

        prepare(args.build, ROOT / "build")
    elif args.what == "make-decoder":
        decoders.make(args.build / "decoder", tiny=args.dry_run)
    elif args.what == "measure":
        measure_parts(args)
    else:
        write_page(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
