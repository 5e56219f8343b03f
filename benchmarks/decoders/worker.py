"""One decoder in one process: told to read a prompt or to make tokens, it does so and says how long each step took.

    python -m benchmarks.decoders.worker KIND FOLDER THREADS

Lines on standard input are JSON: {"prompt": n} empties the cache and reads n tokens, {"tokens": n} makes n more, one by one. The
answer is a JSON line {"seconds": [...]}. Kinds: edgekit (FOLDER holds model.onnx and generation.json), eager and compiled
(transformers, a checkpoint), genai (a folder of onnxruntime-genai), llama.cpp (a GGUF file; needs llama-cpp-python).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Step = Callable[[np.ndarray, bool], Any]
"""(token ids int64 (n,), whether the cache is emptied first) -> logits of the last one, float32 (vocabulary,)."""


def edgekit(folder: Path, threads: int) -> Step:
    from edgekit.runtime.generate.generation import parse_generation
    from edgekit.runtime.generate.graph import check_graph
    from edgekit.runtime.providers.session import open_session

    generation = parse_generation(json.loads((folder / "generation.json").read_text()))
    graph = check_graph(open_session(folder / "model.onnx", threads=threads), generation)
    state = {"cache": graph.empty(1, generation.context)}

    def step(ids: np.ndarray, fresh: bool) -> Any:
        if fresh:
            state["cache"].lengths[:] = 0
            return graph.read(ids, state["cache"])
        return graph.run(ids[None], state["cache"])[0, 0]

    return step


def transformers(folder: Path, threads: int, *, compiled: bool) -> Step:
    import torch
    from transformers import AutoModelForCausalLM, StaticCache

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    forward = torch.compile(model.forward) if compiled else model.forward
    state: dict[str, Any] = {}

    @torch.inference_mode()
    def step(ids: np.ndarray, fresh: bool) -> Any:
        if fresh:
            state["cache"] = StaticCache(config=model.config, max_cache_len=768) if compiled else None
            state["seen"] = 0
        places = torch.arange(state["seen"], state["seen"] + len(ids))
        run = forward if len(ids) == 1 else model.forward
        given = run(
            input_ids=torch.from_numpy(ids[None]), past_key_values=state["cache"], use_cache=True, logits_to_keep=1,
            position_ids=places[None],
        )  # fmt: skip
        state["cache"] = given.past_key_values
        state["seen"] += len(ids)
        return given.logits[0, -1].numpy()

    return step


def llama_cpp(file: Path, threads: int) -> Step:
    import ctypes

    import llama_cpp as c

    c.llama_backend_init()
    options = c.llama_context_default_params()
    options.n_ctx, options.n_batch, options.n_ubatch = 768, 512, 512
    options.n_threads = options.n_threads_batch = threads
    model = c.llama_model_load_from_file(str(file).encode(), c.llama_model_default_params())
    context = c.llama_init_from_model(model, options)
    vocabulary = c.llama_vocab_n_tokens(c.llama_model_get_vocab(model))

    def step(ids: np.ndarray, fresh: bool) -> Any:
        if fresh:
            c.llama_memory_clear(c.llama_get_memory(context), True)
        tokens = (c.llama_token * len(ids))(*ids.tolist())
        if c.llama_decode(context, c.llama_batch_get_one(tokens, len(ids))):
            raise RuntimeError("llama_decode failed")
        found = c.llama_get_logits_ith(context, -1)
        return np.ctypeslib.as_array(ctypes.cast(found, ctypes.POINTER(ctypes.c_float)), (vocabulary,)).copy()

    return step


def genai(folder: Path, threads: int) -> Step:
    import onnxruntime_genai as og

    config = og.Config(str(folder))
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    model = og.Model(config)
    options = og.GeneratorParams(model)
    options.set_search_options(max_length=768, min_length=768, do_sample=False, past_present_share_buffer=True)
    state: dict[str, Any] = {}

    def step(ids: np.ndarray, fresh: bool) -> Any:
        if fresh:
            state["generator"] = og.Generator(model, options)
        state["generator"].append_tokens(ids[None].astype(np.int32))
        return state["generator"].get_logits()[0, -1]

    return step


KINDS: dict[str, Callable[[Path, int], Step]] = {
    "edgekit": edgekit,
    "eager": lambda folder, threads: transformers(folder, threads, compiled=False),
    "compiled": lambda folder, threads: transformers(folder, threads, compiled=True),
    "genai": genai,
    "llama.cpp": llama_cpp,
}


def main() -> None:
    kind, place, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    step = KINDS[kind](place, threads)
    ids = np.random.default_rng(0).integers(0, 1000, 4096)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        seconds = []
        logits = None
        for place_, (count, fresh) in enumerate(
            [(asked["prompt"], True)] if "prompt" in asked else [(1, False)] * asked["tokens"]
        ):
            given = ids[:count] if fresh else ids[1000 + place_ : 1001 + place_]
            start = time.perf_counter()
            logits = step(np.ascontiguousarray(given), fresh)
            seconds.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(json.dumps({"seconds": seconds, "argmax": int(np.argmax(np.asarray(logits))), "peak_mb": peak}), flush=True)


if __name__ == "__main__":
    main()
