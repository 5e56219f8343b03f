"""Decoding and reading speed of a 0.5 B-parameter decoder with real shapes and random weights, beside its peers, in one interleaved run.

    python -m benchmarks.decoders.peers [--rounds 12] [--threads 2]

Peers: transformers in float32, eager and compiled with a static cache; what onnxruntime-genai's builder makes, where that is installed;
llama.cpp with Q4_0 in every matrix, where llama-cpp-python and gguf are (`pip install llama-cpp-python gguf`). Every round asks each in
turn for a prompt of 512 tokens and 24 tokens after it, and reads the memory bandwidth. Writes results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decoders.page import page
from benchmarks.decoders.subject import BUILD, HERE, PROMPT, ROOT, SHAPE, TOKENS
from benchmarks.pages import write_results
from edgekit.config.quantize import WeightOnly

INT4 = "edgekit INT4, blocks of 32"
"""What the others are compared with: 4 bits in every matrix, as Q4_0 has it."""
GENERATION_FACTS = {"context": 768, "eos": [2], "bos": 1, "layers": 24, "kv_heads": 2, "head_size": 64, "chat_template": None}


def random_checkpoint() -> Path:
    """The checkpoint with random weights, made where it is not there yet."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoModelForCausalLM

    source = BUILD / "checkpoint"
    if not (source / "tokenizer.json").is_file():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **SHAPE), dtype=torch.bfloat16).save_pretrained(source)
        Tokenizer(models.BPE()).save(str(source / "tokenizer.json"))
    return source


def quantized_graph(quantize: WeightOnly) -> Path:
    """The folder of its graph in such a number format, made where it is not there yet."""
    from edgekit.exporter.decoder_graph import write_graph
    from edgekit.models.decoders import describe
    from edgekit.quantize.decoder import quantize_decoder
    from edgekit.runtime.bundle.names import GENERATION

    whole, out = BUILD / "float32", BUILD / f"{quantize.format}-{quantize.block}-{quantize.embeddings}"
    if (out / GENERATION).is_file():
        return out
    if not (whole / GENERATION).is_file():
        whole.mkdir(parents=True, exist_ok=True)
        write_graph(describe(random_checkpoint()), whole)
        (whole / GENERATION).write_text(json.dumps(GENERATION_FACTS))
    out.mkdir(parents=True, exist_ok=True)
    quantize_decoder(
        whole, out, quantize, progress=lambda done, total, text: print(f"\r{done:.0f}/{total:.0f} {text:<50}", end="")
    )
    print()
    (out / GENERATION).write_text(json.dumps(GENERATION_FACTS))
    return out


def prepare() -> dict[str, tuple[str, Path]]:
    """Make what is not there yet; returns (kind, place) of each variant."""
    source, variants = random_checkpoint(), {}
    for name, quantize in (
        (INT4, WeightOnly(format="int4-weights", embeddings="int4")),
        ("edgekit INT4, blocks of 128", WeightOnly(format="int4-weights", embeddings="int4", block=128)),
        ("edgekit INT4, blocks of 128, head in INT8", WeightOnly(format="int4-weights", block=128)),
    ):
        variants[name] = ("edgekit", quantized_graph(quantize))
    variants["transformers eager float32"] = ("eager", source)
    variants["transformers compiled float32"] = ("compiled", source)
    if importlib.util.find_spec("onnxruntime_genai"):
        variants["onnxruntime-genai INT4, blocks of 32"] = ("genai", genai_folder(source))
    if importlib.util.find_spec("llama_cpp") and importlib.util.find_spec("gguf"):
        from benchmarks.decoders.gguf_file import write_gguf

        file = BUILD / "q4_0.gguf"
        if not file.is_file():
            write_gguf(source, file)
        variants["llama.cpp Q4_0"] = ("llama.cpp", file)
    return variants


def genai_folder(source: Path) -> Path:
    """The folder of what onnxruntime-genai's own builder makes of the checkpoint, made where it is not there yet."""
    out = BUILD / "genai"
    if not (out / "genai_config.json").is_file():
        options = ["int4_block_size=32", "int4_accuracy_level=4"]
        subprocess.run(
            [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source), "-o", str(out), "-p", "int4", "-e", "cpu",
             "-c", str(BUILD / "cache"), "--extra_options", *options],
            check=True,
        )  # fmt: skip
    return out


def weight_bytes(kind: str, place: Path) -> int:
    """Bytes that every token reads: all weights but the rows of an embedding table that nothing multiplies."""
    if kind == "genai":
        return (place / "model.onnx.data").stat().st_size
    if kind == "llama.cpp":
        return place.stat().st_size
    if kind != "edgekit":
        return 4 * 494_032_768
    from edgekit.bench.language import traffic_of

    return traffic_of(place / "model.onnx")[0]


def bandwidth(threads: int) -> float:
    """GB/s of reading memory once: dot products of arrays far beyond any cache, one a thread; the best of three."""
    arrays = np.ones((threads, 48 * 2**20), dtype=np.float64)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(3):
            start = time.perf_counter()
            list(pool.map(lambda row: float(np.dot(row, row)), arrays))
            best = max(best, arrays.nbytes / (time.perf_counter() - start) / 1e9)
    return best


def interval(samples: list[float], seed: int = 0) -> list[float]:
    """95% bootstrap interval of the median over rounds."""
    random = np.random.default_rng(seed)
    medians = np.median(random.choice(samples, size=(2000, len(samples))), axis=1)
    return [float(value) for value in np.percentile(medians, [2.5, 97.5])]


def measure(rounds: int, threads: int) -> dict[str, Any]:
    variants = prepare()
    workers = {}
    for name, (kind, place) in variants.items():
        workers[name] = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.decoders.worker", kind, str(place), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        )  # fmt: skip
    asked = {name: _ask(worker) for name, worker in workers.items()}
    del asked
    found: dict[str, Any] = {name: {"prompt": [], "token": [], "peak_mb": 0.0} for name in variants}
    reads = []
    for number in range(rounds + 1):  # the first one warms up and is thrown away
        for name, worker in workers.items():
            prompt = _ask(worker, {"prompt": PROMPT})
            tokens = _ask(worker, {"tokens": TOKENS})
            if number:
                found[name]["prompt"].append(prompt["seconds"][0])
                found[name]["token"].append(float(np.median(tokens["seconds"])))
                found[name]["peak_mb"] = tokens["peak_mb"]
        reads.append(bandwidth(threads))
        print(f"round {number} of {rounds}", flush=True)
    for worker in workers.values():
        worker.stdin.close()  # type: ignore[union-attr]
        worker.wait()
    return _document(variants, found, reads, rounds, threads)


def _ask(worker: Any, what: dict[str, int] | None = None) -> dict[str, Any]:
    if what:
        worker.stdin.write(json.dumps(what) + "\n")
        worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"a worker died: {worker.args}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _document(variants: Any, found: Any, reads: list[float], rounds: int, threads: int) -> dict[str, Any]:
    base = found[INT4]
    rows = []
    for name, (kind, place) in variants.items():
        tokens, prompts = found[name]["token"], found[name]["prompt"]
        size, median = weight_bytes(kind, place), float(np.median(tokens))
        ratio = [other / ours for other, ours in zip(tokens, base["token"], strict=True)]
        reading = [other / ours for other, ours in zip(prompts, base["prompt"], strict=True)]
        rows.append(
            {
                "name": name, "weights_mb": size / 1e6, "token_ms": 1e3 * median, "token_ms_ci95": [1e3 * v for v in interval(tokens)],
                "prompt_tokens_per_s": PROMPT / float(np.median(prompts)), "bandwidth_share": size / 1e9 / median / max(reads),
                "int4_is_faster_by": float(np.median(ratio)), "int4_is_faster_by_ci95": interval(ratio),
                "int4_reads_faster_by": float(np.median(reading)), "int4_reads_faster_by_ci95": interval(reading),
                "peak_mb": found[name]["peak_mb"],
            }
        )  # fmt: skip
    chip = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    tools = {tool: metadata.version(tool) for tool in ("onnxruntime", "torch", "transformers")}
    for tool in ("onnxruntime-genai", "llama-cpp-python"):
        if importlib.util.find_spec(tool.replace("-python", "").replace("-", "_")):
            tools[tool] = metadata.version(tool)
    return {
        "command": f"python -m benchmarks.decoders.peers --rounds {rounds} --threads {threads}",
        "shape": SHAPE, "prompt": PROMPT, "tokens": TOKENS, "rounds": rounds, "threads": threads, "chip": chip, "tools": tools,
        "read_gb_per_s": max(reads), "read_gb_per_s_all": reads, "variants": rows,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    write_measured(HERE, measure(asked.rounds, asked.threads))


def write_measured(folder: Path, document: dict[str, Any]) -> None:
    """results.json and README.md in `folder`; what benchmarks.decoders.kernels has added to the first stays."""
    path = folder / "results.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_results(path, {**document, **({"where": before["where"]} if "where" in before else {})})
    text = page(json.loads(path.read_text(encoding="utf-8")))  # names sorted, as they are kept
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
