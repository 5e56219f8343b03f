"""Encoder bundles on the GPU beside PyTorch in float16: golden inputs, quality, then latency and memory shape by shape.

Every variant gets token ids as arrays in the machine's memory and gives its output there: copies and synchronisation are part of a
run for all alike. PyTorch's peers have the bundle's shapes and random weights: their times do not depend on them.
"""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cuda.machine import synchronise, taken_mb
from benchmarks.cuda.timing import interleaved, summary
from edgekit.runtime.items import split_lines
from edgekit.runtime.records import as_json

OURS, EAGER, COMPILED, AUTOTUNED = "edgekit", "PyTorch eager", "torch.compile, reduce-overhead", "torch.compile, max-autotune"
POSITIONS = 512
TENSORRT, PAIRS = "TensorrtExecutionProvider", {"session.disable_quant_qdq": "1"}
"""What a CPU is told that stands in for TensorRT: multiply what the pairs give, in float32."""
Once = Callable[[], np.ndarray]


def check(folder: Path, device: str, rows: int) -> dict[str, Any]:
    """Golden inputs replayed and test rows scored, one by one, by the runtime that serves; on a CPU by a copy made for it."""
    from edgekit.pack.bundle import write_manifest
    from edgekit.runtime.bundle.verify import verify
    from edgekit.runtime.model import load
    from edgekit.runtime.processors import processor
    from edgekit.tasks import find_task

    place = folder / "bundle"
    if device == "cpu":
        place = shutil.copytree(place, folder / "on-cpu" / "bundle", dirs_exist_ok=True)
        text = (place / "manifest.json").read_text(encoding="utf-8")
        manifest = json.loads(text.replace(provider_of(folder), "CPUExecutionProvider"))
        for variant in manifest["components"]["model"]["variants"].values():
            variant["session_options"]["config"] = PAIRS if provider_of(folder) == TENSORRT else {}
        write_manifest(place, manifest)
    verdict = verify(place)
    model = load(place)
    manifest = model.bundle.manifest
    task = find_task(manifest.task)
    found = []
    start = time.perf_counter()
    lines = split_lines((folder / "test.jsonl").read_text(encoding="utf-8"))[:rows]
    for line in lines:
        row = json.loads(line)
        if model.language is not None:
            log_probabilities = model.language.score(model.language.encode(row["text"])[: model.language.generation.context])
            found.append([float(log_probabilities.sum()), float(len(log_probabilities))])
            continue
        inputs = [processor(manifest.task).prepare(model.reader, item) for item in task.items(row)]
        outputs = model.outputs([one for part in inputs for one in part])
        found.append(task.evidence(outputs, inputs, row, list(manifest.labels)))
    return {
        "golden": verdict["golden"], "difference": verdict["difference"], "tolerance": verdict["tolerance"],
        "quality": task.reduce(np.asarray(found)), "rows": len(lines), "seconds": time.perf_counter() - start,
        "quality_where_made": as_json(manifest.quality),
    }  # fmt: skip


def measure(
    folder: Path, device: str, *, batches: list[int], lengths: list[int], rounds: int, seconds: float, autotuned: set[tuple[int, int]],
    compiled: set[tuple[int, int]],
) -> list[dict[str, Any]]:  # fmt: skip
    """One document a shape (batch, sequence), all variants interleaved; of a TensorRT bundle at lengths that it takes."""
    int8 = provider_of(folder) == TENSORRT
    model = folder / "bundle" / "model.onnx" if int8 else widened(folder)
    arithmetic = cost(folder.with_name(folder.name.removesuffix("-tensorrt")) / "bundle" / "model.onnx")
    lengths = [length for length in lengths if not int8 or length <= limit_of(folder)]
    cells = []
    for length in lengths:
        for batch in batches:
            kinds = [OURS, EAGER]
            kinds += [COMPILED] if (batch, length) in compiled else []
            kinds += [AUTOTUNED] if (batch, length) in autotuned else []
            cells.append(cell(folder, model, device, batch, length, kinds, arithmetic, rounds, seconds))
            print(json.dumps({"bundle": folder.name, **cells[-1]}), flush=True)
    return cells


def cell(
    folder: Path, model: Path, device: str, batch: int, length: int, kinds: list[str], arithmetic: dict[str, Any], rounds: int, seconds: float
) -> dict[str, Any]:  # fmt: skip
    """All variants at one shape."""
    ids = np.random.default_rng(length).integers(5, min(1000, block_of(folder)["vocabulary"]), (batch, length))
    runs: dict[str, Once] = {}
    provider = provider_of(folder) if device == "cuda" else "CPUExecutionProvider"
    memory, setup = {}, {}
    for kind in kinds:
        gc.collect()
        before, start = taken_mb(device, peer=kind != OURS), time.perf_counter()
        runs[kind] = ours(model, ids, provider) if kind == OURS else peer(folder, ids, device, kind)
        for _ in range(4):
            runs[kind]()
        synchronise(device)
        setup[kind], memory[kind] = time.perf_counter() - start, taken_mb(device, peer=kind != OURS, most=True) - before
    found = interleaved(runs, rounds=rounds, seconds=seconds)
    runs.clear()
    reset(device)
    tokens = batch * length
    work = 2 * arithmetic["weights"] * tokens + 4 * arithmetic["attention"] * batch * length**2
    document: dict[str, Any] = {"batch": batch, "sequence": length, "gflop": work / 1e9, "variants": {}}
    for kind, samples in found.items():
        numbers = summary(samples, found[OURS])
        document["variants"][kind] = numbers | {
            "texts_per_s": 1e3 * batch / numbers["ms"], "tflop_per_s": work / numbers["ms"] / 1e9, "memory_mb": memory[kind],
            "weights_gb_per_s": 2 * arithmetic["weights"] / numbers["ms"] / 1e6, "setup_s": setup[kind],
        }  # fmt: skip
    return document


def provider_of(folder: Path) -> str:
    """The execution provider that the bundle in `folder` is for."""
    return str(block_of(folder)["target"]["provider"])


def limit_of(folder: Path) -> int:
    """Tokens that the bundle in `folder` takes."""
    return int(block_of(folder)["tokenizer"]["max_length"])


def block_of(folder: Path) -> dict[str, Any]:
    """What the manifest of the bundle in `folder` says in edgekit's own block."""
    found: dict[str, Any] = json.loads((folder / "bundle" / "manifest.json").read_text(encoding="utf-8"))["edgekit"]
    return found


def ours(model: Path, ids: np.ndarray, provider: str) -> Once:
    from edgekit.runtime.providers.cuda import Replayed
    from edgekit.runtime.providers.session import open_session

    session = open_session(model, provider=provider)
    if provider == "CPUExecutionProvider":
        session = Replayed(session, "cpu")
    names = {item.name for item in session.get_inputs()}
    every = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    feed = {name: array for name, array in every.items() if name in names}
    turn = [ids, ids[:, ::-1].copy()]  # two inputs in turn: an input that stays the same is not copied again

    def once() -> np.ndarray:
        turn.reverse()
        found: np.ndarray = session.run(None, {**feed, "input_ids": turn[0]})[0]
        return found

    return once


def peer(folder: Path, ids: np.ndarray, device: str, kind: str) -> Once:
    """The bundle's architecture in PyTorch, float16, as `edgekit` exports it: pooling and normalisation included."""
    import torch
    import transformers

    from edgekit.models.shapes import LayerShape, resize
    from edgekit.tasks import encoder_task
    from edgekit.tasks.graph import graph_of

    task = encoder_task(json.loads((folder / "bundle" / "manifest.json").read_text())["edgekit"]["task"])
    config = transformers.AutoConfig.from_pretrained(folder / "peer", local_files_only=True)
    torch.manual_seed(0)
    dtype = torch.float16 if device == "cuda" else torch.float32
    network = getattr(transformers, task.auto).from_config(config, dtype=dtype)
    if task.auto == "AutoModel":
        network.pooler = None
    if (folder / "peer" / "edgekit.json").is_file():
        shapes = json.loads((folder / "peer" / "edgekit.json").read_text())["layers"]
        resize(network, [LayerShape(**shape) for shape in shapes])
    module: Any = graph_of(task, network).eval().to(device, dtype)
    module.arguments = lambda ids, mask: {"input_ids": ids, "attention_mask": mask}  # the mask as transformers makes it
    if kind != EAGER:
        torch._dynamo.reset()
        module = torch.compile(module, mode="reduce-overhead" if kind == COMPILED else "max-autotune", dynamic=False)
    given = [torch.from_numpy(array) for array in (ids, ids[:, ::-1].copy())]
    mask = torch.ones_like(given[0]).to(device)

    def once() -> np.ndarray:
        given.reverse()
        with torch.inference_mode():
            return np.asarray(module(given[0].to(device), mask).float().cpu().numpy())

    return once


def reset(device: str) -> None:
    import torch

    torch._dynamo.reset()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def widened(folder: Path) -> Path:
    """The bundle's graph with room for POSITIONS tokens: rows beyond its own limit are random, for times alone."""
    import onnx
    from onnx import numpy_helper

    out = folder / "widened.onnx"
    model = onnx.load(str(folder / "bundle" / "model.onnx"))
    limit = limit_of(folder)
    tables = {node.input[0] for node in model.graph.node if node.op_type == "Slice"}
    for tensor in model.graph.initializer:
        if tensor.name in tables and tensor.dims[-2] == limit:
            table = numpy_helper.to_array(tensor)
            more = np.resize(table, (*table.shape[:-2], POSITIONS, table.shape[-1]))
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(more), tensor.name))
    onnx.save(model, str(out))
    return out


def cost(model: Path) -> dict[str, int]:
    """Weights that every token is multiplied with, and the widths of all attentions together."""
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    matmuls = [node for node in graph.node if node.op_type in ("MatMul", "Gemm") and len(shapes.get(node.input[1], [])) == 2]
    made = {node.output[0]: node for node in graph.node}
    width = 0
    for node in graph.node:
        if node.op_type in ("MultiHeadAttention", "Attention"):
            bias = made.get(node.input[0])
            width += shapes[bias.input[1]][0] if bias is not None and bias.op_type == "Add" and bias.input[1] in shapes else 0
    return {"weights": sum(int(np.prod(shapes[node.input[1]])) for node in matmuls), "attention": width}
