"""The GPU lane: bundles for target `cuda` checked and measured on an NVIDIA GPU, beside PyTorch in float16 on the same GPU.

    make test-cuda                                          # tests/cuda, then all of what follows, on a machine with an NVIDIA GPU
    python benchmarks/cuda/run.py prepare                   # anywhere: bundles, test rows and peers' shapes under build/cuda
    python benchmarks/cuda/run.py measure [--parts ...]     # on the GPU: results.json
    python benchmarks/cuda/run.py measure --dry-run         # the same script on a CPU, tiny sizes, nothing written here
    python benchmarks/cuda/run.py page                      # README.md from results.json

`measure` needs no network and of edgekit's own needs only numpy, onnxruntime-gpu and tokenizers for bundles; torch and transformers
are the peers. Parts already in the results file are kept, so parts may be measured one after the other.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

import decoders  # noqa: E402
import encoders  # noqa: E402
import machine  # noqa: E402
from page import page  # noqa: E402

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
        if part == "machine":
            document["machine"] = machine.facts(device) | {"ceilings": machine.ceilings(device)}
        elif part == "decoder":
            folder = place / "decoder"
            decoders.make(folder, tiny=dry)
            document["decoder"] = decoders.measure(
                folder, device, batches=[1, 2] if dry else [1, 8], rounds=args.rounds, seconds=args.seconds
            )
        else:
            document["checks"][part] = encoders.check(place / part, device, 50 if dry else 1_000_000)
            print(part, json.dumps(document["checks"][part]), flush=True)
            if not (place / part / "peer").is_dir():  # a language model: the larger one is timed
                continue
            document["encoders"][part] = encoders.measure(
                place / part, device, batches=[1, 2] if dry else BATCHES, lengths=[16] if dry else LENGTHS, rounds=args.rounds,
                seconds=args.seconds, compiled=set() if args.no_compile else COMPILED, autotuned=set() if args.no_compile else AUTOTUNED,
            )  # fmt: skip
        document.setdefault("seconds", {})[part] = time.perf_counter() - start
        if device == "cuda":
            document.setdefault("states", {})[part] = machine.state()
        document["command"] = f"python benchmarks/cuda/run.py measure --rounds {args.rounds} --seconds {args.seconds:g}"
        out.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{part}: {document['seconds'][part]:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "make-decoder", "measure", "page"])
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--parts", nargs="*")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.06, help="how long each variant runs in a round")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, tiny")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    args = parser.parse_args()
    if args.what == "prepare":
        from prepare import prepare  # reads recipes and targets, which a machine with a GPU need not be able to

        prepare(args.build, ROOT / "build")
    elif args.what == "make-decoder":
        decoders.make(args.build / "decoder", tiny=args.dry_run)
    elif args.what == "measure":
        there = sorted(path.parent.name for path in args.build.glob("*/bundle"))
        parts = args.parts or ["machine", *there, "decoder"]
        if args.dry_run:
            with tempfile.TemporaryDirectory() as folder:
                measure(args.build, "cpu", parts, Path(folder) / "results.json", args)
            return
        measure(args.build, "cuda", parts, args.out, args)
    else:
        (HERE / "README.md").write_text(page(json.loads(args.out.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
