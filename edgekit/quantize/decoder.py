"""A decoder's weights in 4 or 8 bits: every MatMul with a constant weight, the head included, and the embedding.

The float32 file is mapped, not read, and one weight is rounded at a time. A head that is the embedding transposed reads the table that is
looked up (`shared_table`); where that stays in float32 or does not fit the blocks, it becomes a MatMul with a weight of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from threadpoolctl import threadpool_limits

from edgekit.config.quantize import WeightOnly
from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.linear import LinearNode, bias_add, linear_nodes
from edgekit.onnx_graph.rewrite import replace
from edgekit.progress import Progress, silent
from edgekit.quantize.blocks import Blocks, quantize_blocks
from edgekit.quantize.embedding import quantize_embeddings
from edgekit.quantize.gptq import Curvature, curvature, gptq
from edgekit.quantize.hqq import hqq
from edgekit.quantize.kv_cache import quantize_cache
from edgekit.quantize.sensitivity import costliest, divergences
from edgekit.quantize.shared_table import share_table
from edgekit.quantize.weight_only import block_matmul, block_weight
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.providers.session import own_cores

__all__ = ["quantize_decoder", "untie"]

Hessians = Callable[[str], np.ndarray]
"""The input of a linear layer, by the name of its value -> the sum of x x' over calibration tokens, float64 (in, in)."""


def quantize_decoder(
    source: Path,
    out: Path,
    settings: WeightOnly,
    *,
    hessians: Hessians | None = None,
    cache: Mapping[str, np.ndarray] | None = None,
    texts: Sequence[np.ndarray] = (),
    scratch: Path | None = None,
    progress: Progress = silent,
) -> JsonObject:
    """Write the weight-only form of the decoder in folder `source` to folder `out`; returns counts of what was changed, and the names of the
    layers in 8 bits where others have 4.

    `cache`: the ranges of keys and values, for a cache in int8. `texts`, token ids int64 (tokens,) each, and a folder `scratch`: for `eight_bits`.
    """
    model = ir.load(source / MODEL)
    graph = model.graph
    shared = share_table(graph, settings)
    untie(graph)
    linears = linear_nodes(graph)
    made = _rounded(linears, settings, hessians)
    raised: list[str] = []
    if settings.eight_bits is not None:
        assert scratch is not None, "what deserves 8 bits is found in a folder of its own"
        kept = {linear.name: (linear, blocks) for linear, blocks in made}
        raised = _raised(
            source, {name: blocks for name, (_, blocks) in kept.items()}, settings.eight_bits, texts, scratch, progress
        )
        better = settings.model_copy(update={"format": "int8-weights", "eight_bits": None})
        kept |= {linear.name: (linear, blocks) for linear, blocks in _rounded(_named(linears, raised), better, hessians)}
        made = iter(kept.values())
    for number, (linear, blocks) in enumerate(made):
        progress(number, len(linears), f"quantize: {linear.name}")
        add = bias_add(linear.node)
        old = [linear.node] if add is None else [linear.node, add[0]]
        weight = block_weight(graph, linear.name, blocks, 8 if linear.name in raised else settings.bits)
        block_matmul(graph, old, linear.name, weight, settings.accuracy_level, None if add is None else add[1])
    embeddings = quantize_embeddings(graph, settings.embeddings)
    layers = 0
    if settings.cache == "int8":
        assert cache is not None, "a cache in int8 is given its ranges"
        layers = quantize_cache(graph, cache)
    RemoveUnusedNodesPass()(model)
    ir.save(model, out / MODEL, external_data=MODEL_DATA, size_threshold_bytes=4096)
    counts: JsonObject = {"matmul": len(linears) + shared, "embedding": embeddings + shared, "cache": layers}
    return counts if settings.eight_bits is None else {**counts, "eight_bits": list[JsonValue](raised)}


def _raised(
    source: Path, made: Mapping[str, Blocks], share: float, texts: Sequence[np.ndarray], scratch: Path, progress: Progress
) -> list[str]:
    """Names of the layers that get 8 bits."""
    # a head that was tied to its table until now is none of the file's linear layers: what it costs is not measured
    names = {linear.name for linear in linear_nodes(ir.load(source / MODEL).graph)}
    chosen = {name: blocks for name, blocks in made.items() if name in names}
    cost = divergences(source, texts, {name: blocks.restored for name, blocks in chosen.items()}, scratch, progress)
    return costliest(cost, {name: blocks.rows * len(blocks.values) for name, blocks in chosen.items()}, share)


def _named(linears: Sequence[LinearNode], names: Collection[str]) -> list[LinearNode]:
    return [linear for linear in linears if linear.name in names]


def _rounded(
    linears: Sequence[LinearNode], settings: WeightOnly, hessians: Hessians | None
) -> Iterator[tuple[LinearNode, Blocks]]:
    """Each of `linears` with its rounded weight, in their order; as many are in the making as there are cores, each by one thread: those of
    one BLAS product would spin while they wait for one another (GPTQ took 3.5 times the seconds of CPU so, on two cores)."""
    cores = own_cores()
    made: deque[tuple[LinearNode, Future[Blocks]]] = deque()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores) as pool:
        for linear, inputs in _with_inputs(linears, settings, hessians):
            made.append((linear, pool.submit(_round, linear, settings, inputs)))
            if len(made) > cores:
                first, blocks = made.popleft()
                yield first, blocks.result()
        for first, blocks in made:
            yield first, blocks.result()


def _with_inputs(
    linears: Sequence[LinearNode], settings: WeightOnly, hessians: Hessians | None
) -> Iterator[tuple[LinearNode, Curvature | None]]:
    """Each of `linears` with what GPTQ rounds it by, which is found once for neighbours that read the same."""
    known, inputs = "", None
    for linear in linears:
        if settings.rounding == "gptq":
            assert hessians is not None, "gptq is given calibration rows"
            if (name := str(linear.node.inputs[0].name)) != known:
                known, inputs = name, curvature(hessians(name))
        yield linear, inputs


def _round(linear: LinearNode, settings: WeightOnly, inputs: Curvature | None) -> Blocks:
    if inputs is not None:
        return gptq(linear.weight, settings.bits, settings.block, inputs)
    rounding = hqq if settings.rounding == "hqq" else quantize_blocks
    return rounding(linear.weight, settings.bits, settings.block)


def untie(graph: ir.Graph) -> None:
    """x times the embedding, transposed, as a MatMul with a weight of its own."""
    for node in list(graph):
        if node.op_type == "FusedMatMul" and (table := array_of(node.inputs[1])) is not None:
            turned = add_initializer(graph, f"{node.name}.weight", table.T)
            new = ir.node("MatMul", [node.inputs[0], turned], name=node.name)
            replace(graph, [node], [new], new.outputs[0])
