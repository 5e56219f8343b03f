"""How fast each shape answers and how large it is, in INT8 as a recipe ships it: `python -m benchmarks.language_compression.speed`.

Weights do not change a time, so they are random. One thread; every shape is asked in turn, round after round. Writes speed.json and README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.language_compression.page import write_page
from benchmarks.language_quality.trained import opened
from benchmarks.pages import write_results
from edgekit.config.quantize import WeightOnly
from edgekit.exporter.decoder import export_decoder
from edgekit.progress import silent
from edgekit.quantize.decoder import quantize_decoder
from edgekit.runtime.bundle.names import GENERATION, MODEL, MODEL_DATA
from edgekit.runtime.chip import parse_cpuinfo, read_text

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "language-compression-speed"
SHAPES = {
    "the original": {},
    "6 of 8 blocks": {"num_hidden_layers": 6}, "4 of 8 blocks": {"num_hidden_layers": 4}, "2 of 8 blocks": {"num_hidden_layers": 2},
    "three quarters of the neurons": {"intermediate_size": 1056}, "half the neurons": {"intermediate_size": 704},
    "a quarter of the neurons": {"intermediate_size": 352},
}  # fmt: skip
"""Changes to the original's configuration; zeros change no shape."""
PROMPT, TOKENS, ROUNDS = 128, 16, 12


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models", help="folder that holds wiki-28m")
    source = (parser.parse_args().models / "wiki-28m").resolve()
    folders = {name: _made(source, name, changes) for name, changes in SHAPES.items()}
    models = {name: opened(folder, source, 1) for name, folder in folders.items()}
    load, ids = os.getloadavg()[0], np.arange(1, PROMPT + 1)
    times: dict[str, dict[str, list[float]]] = {name: {"token_ms": [], "prompt_ms": []} for name in models}
    for number in range(ROUNDS + 1):  # the first one warms up
        for name, model in models.items():
            cache, made = model.graph.empty(1, PROMPT + TOKENS), []
            begun = time.perf_counter()
            model.graph.read(ids, cache)
            read = time.perf_counter()
            for token in range(TOKENS):
                before = time.perf_counter()
                model.graph.run(np.array([[token + 1]]), cache)
                made.append(time.perf_counter() - before)
            if number:
                times[name]["prompt_ms"].append(round(1e3 * (read - begun), 3))
                times[name]["token_ms"].append(round(1e3 * float(np.median(made)), 4))
    document = {
        "command": "python -m benchmarks.language_compression.speed",
        "chip": parse_cpuinfo(read_text(Path("/proc/cpuinfo"))).model,
        "load": {"before": round(load, 1), "after": round(os.getloadavg()[0], 1)},
        "prompt": PROMPT, "tokens": TOKENS, "rounds": ROUNDS,
        "shapes": {
            name: {
                "megabytes": sum((folder / file).stat().st_size for file in (MODEL, MODEL_DATA)) / 1e6,
                **{kind: {"median": float(np.median(every)), "all": every} for kind, every in times[name].items()},
            }
            for name, folder in folders.items()
        },
    }  # fmt: skip
    write_results(HERE / "speed.json", document)
    write_page()
    return 0


def _made(source: Path, name: str, changes: dict[str, int]) -> Path:
    """The folder of a shape's INT8 graph."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    out = BUILD / name.replace(" ", "-")
    if (out / "int8" / GENERATION).is_file():
        return out / "int8"
    config = {**json.loads((source / "config.json").read_text(encoding="utf-8")), **changes}
    torch.manual_seed(7)
    LlamaForCausalLM(LlamaConfig(**config)).save_pretrained(out / "checkpoint")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / file, out / "checkpoint" / file)
    for folder in ("float32", "int8"):
        (out / folder).mkdir(exist_ok=True)
    export_decoder(out / "checkpoint", out / "float32", max_length=512, progress=silent)
    quantize_decoder(out / "float32", out / "int8", WeightOnly(format="int8-weights", block=64))
    shutil.copyfile(out / "float32" / GENERATION, out / "int8" / GENERATION)
    return out / "int8"


if __name__ == "__main__":
    sys.exit(main())
