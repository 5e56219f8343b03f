"""A decoder of half a billion parameters on the GPU: the shapes of Qwen2.5-0.5B, weights from a seed, made where it is measured.

Read a prompt, then make tokens one by one for every row; every variant gives the logits as float32 in the machine's memory,
where tokens are chosen. edgekit's is timed with the logits left on the GPU as well. The float16 graph holds the very
weights of PyTorch's model, so their logits are compared too.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cuda.machine import synchronise, taken_mb
from benchmarks.cuda.timing import interleaved, summary

SHAPE: dict[str, Any] = {
    "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
    "bos_token_id": 1, "eos_token_id": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
}  # fmt: skip
"""Those of Qwen2.5-0.5B (its config.json)."""
TINY = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
CONTEXT, PROMPT = 1024, 512
INT4, HALF = "edgekit INT4, blocks of 32", "edgekit float16"
EAGER, COMPILED = "PyTorch eager", "torch.compile, reduce-overhead, static cache"
ON_DEVICE = ", logits left on the GPU"


def make(folder: Path, *, tiny: bool) -> None:
    """Checkpoint, float16 graph and INT4 graph, made once. Weights are rounded to their block's largest alone, which is quick and
    as fast to multiply with as any other rounding."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoModelForCausalLM

    from edgekit.config.quantize import Float16, WeightOnly
    from edgekit.exporter.decoder_graph import write_graph
    from edgekit.models.decoders import describe
    from edgekit.quantize import blocks
    from edgekit.quantize.float16_decoder import decoder_for_gpu

    if (folder / "done").is_file():
        return
    shape = SHAPE | (TINY if tiny else {})
    torch.manual_seed(0)
    source, whole = folder / "checkpoint", folder / "float32"
    AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **shape), dtype=torch.float16).save_pretrained(source)
    Tokenizer(models.BPE()).save(str(source / "tokenizer.json"))
    kv, size = shape["num_key_value_heads"], shape["hidden_size"] // shape["num_attention_heads"]
    generation = {
        "context": CONTEXT, "eos": [2], "bos": 1, "layers": shape["num_hidden_layers"], "kv_heads": kv, "head_size": size,
        "chat_template": None,
    }  # fmt: skip
    whole.mkdir(parents=True, exist_ok=True)
    write_graph(describe(source), whole)
    blocks.SHARES = np.ones(1)
    for name, settings in (
        ("float16", Float16(format="float16")),
        ("int4", WeightOnly(format="int4-weights", accuracy_level=0)),
    ):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        decoder_for_gpu(whole, place, folder / "scratch", settings)
        (place / "generation.json").write_text(json.dumps(generation))
    (folder / "done").touch()


class Ours:
    """edgekit's runtime over one cache."""

    def __init__(self, folder: Path, device: str, rows: int) -> None:
        from edgekit.runtime.generate.device import on_device
        from edgekit.runtime.generate.generation import parse_generation
        from edgekit.runtime.generate.graph import check_graph
        from edgekit.runtime.providers.session import open_session

        generation = parse_generation(json.loads((folder / "generation.json").read_text()))
        provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
        plain = check_graph(open_session(folder / "model.onnx", provider=provider), generation)
        self.graph = on_device(plain, device)
        self.cache = self.graph.empty(rows, CONTEXT)
        self.rows = rows

    def prompt(self, ids: np.ndarray) -> np.ndarray:
        self.cache.lengths[:] = 0
        return np.stack([self.graph.read(ids[row], self.cache.rows(row, row + 1)) for row in range(self.rows)])

    def token(self, ids: np.ndarray) -> np.ndarray:
        self._turn(ids.shape[0])
        return self.graph.run(ids, self.cache)[:, 0]

    def token_on_device(self, ids: np.ndarray) -> None:
        self._turn(ids.shape[0])
        self.graph.step(ids, self.cache)
        self.cache.lengths += 1

    def _turn(self, rows: int) -> None:
        """Back to the end of the prompt where the cache is full: every round reads about as many tokens."""
        if int(self.cache.lengths.max()) + 1 > self.cache.capacity - 8:
            self.cache.lengths[:] = PROMPT


class Peer:
    """transformers in float16 on the same device."""

    def __init__(self, folder: Path, device: str, rows: int, *, compiled: bool) -> None:
        import torch
        from transformers import AutoModelForCausalLM, StaticCache

        self.torch, self.device, self.rows, self.compiled = torch, device, rows, compiled
        dtype = torch.float16 if device == "cuda" else torch.float32
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True).eval().to(device)
        self.static = StaticCache
        self.decode = (
            torch.compile(self.model.forward, mode="reduce-overhead", dynamic=False) if compiled else self.model.forward
        )
        self.cache: Any = None
        self.seen = 0

    def prompt(self, ids: np.ndarray) -> np.ndarray:
        if self.compiled and self.cache is None:
            self.cache = self.static(config=self.model.config, max_cache_len=CONTEXT)
        elif self.compiled:
            self.cache.reset()
        else:
            self.cache = None
        self.seen = 0
        return self._run(ids, self.model.forward)

    def token(self, ids: np.ndarray) -> np.ndarray:
        if self.seen + 1 > CONTEXT - 8:
            if self.compiled:
                self.seen = PROMPT  # the static cache's cost does not depend on it
            else:
                self.cache.crop(PROMPT)
                self.seen = PROMPT
        return self._run(ids, self.decode)

    def _run(self, ids: np.ndarray, forward: Callable[..., Any]) -> np.ndarray:
        torch = self.torch
        with torch.no_grad():
            places = torch.arange(self.seen, self.seen + ids.shape[1], device=self.device)[None].expand(len(ids), -1)
            if self.compiled:
                torch.compiler.cudagraph_mark_step_begin()
            given = forward(
                input_ids=torch.from_numpy(ids).to(self.device), past_key_values=self.cache, use_cache=True, logits_to_keep=1,
                position_ids=places,
            )  # fmt: skip
            self.cache = given.past_key_values
            self.seen += ids.shape[1]
            return np.asarray(given.logits[:, -1].float().cpu().numpy())


def measure(folder: Path, device: str, *, batches: list[int], rounds: int, seconds: float) -> dict[str, Any]:
    """One document a batch, and how near the logits are."""
    vocabulary = json.loads((folder / "checkpoint" / "config.json").read_text())["vocab_size"]
    cells = []
    for rows in batches:
        generator = np.random.default_rng(rows)
        ids = generator.integers(0, vocabulary, (rows, PROMPT))
        makers: dict[str, Callable[[], Any]] = {
            INT4: lambda: Ours(folder / "int4", device, rows),  # noqa: B023
            HALF: lambda: Ours(folder / "float16", device, rows),  # noqa: B023
            EAGER: lambda: Peer(folder / "checkpoint", device, rows, compiled=False),  # noqa: B023
            COMPILED: lambda: Peer(folder / "checkpoint", device, rows, compiled=True),  # noqa: B023
        }
        made: dict[str, Any] = {}
        memory: dict[str, float] = {}
        logits: dict[str, np.ndarray] = {}
        reading: dict[str, list[float]] = {}
        following = [np.ascontiguousarray(generator.integers(0, vocabulary, (rows, 1))) for _ in range(8)]
        for name, maker in makers.items():
            gc.collect()
            before = taken_mb(device, peer=name in (EAGER, COMPILED))
            made[name] = maker()
            reading[name] = []
            for _ in range(4):
                start = time.perf_counter()
                first = made[name].prompt(ids)
                reading[name].append(time.perf_counter() - start)
            logits[name] = np.stack([first, *(made[name].token(one) for one in following)])
            synchronise(device)
            memory[name] = taken_mb(device, peer=name in (EAGER, COMPILED), most=True) - before
            print(name, "ready", f"{memory[name]:.0f} MB", flush=True)
        near = {name: agreement(logits[name], logits[EAGER]) for name in made}
        plain = unrecorded(made[HALF], ids, following)
        near |= {"recorded and not": agreement(logits[HALF], plain), "not recorded": agreement(plain, logits[EAGER])}
        one = following[0]
        runs: dict[str, Callable[[], object]] = {name: partial(model.token, one) for name, model in made.items()}
        runs |= {name + ON_DEVICE: partial(made[name].token_on_device, one) for name in (INT4, HALF)}
        found = interleaved(runs, rounds=rounds, seconds=seconds)
        document: dict[str, Any] = {"batch": rows, "prompt": PROMPT, "agreement": near, "variants": {}}
        for name, samples in found.items():
            variant = name.removesuffix(ON_DEVICE)
            numbers = summary(samples, found[INT4])
            document["variants"][name] = numbers | {
                "tokens_per_s": 1e3 * rows / numbers["ms"], "memory_mb": memory[variant], "bytes_per_token_mb": weights(folder, variant) / 1e6,
                "gb_per_s": weights(folder, variant) / numbers["ms"] / 1e6, "prompt_ms": 1e3 * float(np.median(reading[variant][1:])),
            }  # fmt: skip
        cells.append(document)
        print(json.dumps(document), flush=True)
        made.clear()
        runs.clear()
        gc.collect()
        import torch

        torch._dynamo.reset()
    return {"cells": cells}


def unrecorded(model: Ours, ids: np.ndarray, following: list[np.ndarray]) -> np.ndarray:
    """The same logits without recordings, with the true total length at every step."""
    found = [model.prompt(ids)]
    for one in following:
        after = model.cache.lengths + 1
        found.append(model.graph._read(one, model.cache, after, 1).numpy()[:, 0])
        model.cache.lengths[:] = after
    return np.stack(found)


def agreement(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Root mean square difference as a share of the spread of `wanted`, and the share of steps with the same largest logit."""
    return {
        "difference": float(np.sqrt(np.mean(np.square(found - wanted))) / wanted.std()),
        "same_token": float((found.argmax(axis=-1) == wanted.argmax(axis=-1)).mean()),
    }


def weights(folder: Path, name: str) -> int:
    """Bytes that a token must read: all weights but the table that tokens are looked up in, unless it is the head as well."""
    from edgekit.bench.language import traffic_of

    return traffic_of(folder / ("int4" if name == INT4 else "float16") / "model.onnx")[0]
