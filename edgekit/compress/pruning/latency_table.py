"""What an attention block of some heads and a feed-forward block of some neurons cost, norm and residual sum included.

Measured: milliseconds of the operators that dynamic INT8 is lowered to (QAttention, DynamicQuantizeMatMul, Gelu,
Sum, LayerNormalization), through ONNX Runtime on one thread of this machine. As many blocks follow one another as the model has
layers, each with weights of its own, so that caches are as full as in the model; the time of an empty call is subtracted.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.runtime.providers.session import plain_session

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

__all__ = ["Block", "LatencyTable", "measured_table", "multiplications_table"]

RUNS = 40


@dataclass(frozen=True)
class LatencyTable:
    """Cost of each level of a block, by its number of heads or neurons."""

    attention: dict[int, float]
    feed_forward: dict[int, float]
    differs: float = 0.0
    """How much longer the slower of a level's two times was, median over levels: what a busy machine adds; 0 if none was measured."""


@dataclass(frozen=True)
class Block:
    """What all blocks of a model share."""

    hidden_size: int
    head_size: int
    tokens: int
    """Length of the input."""
    layers: int
    gated: bool = False
    """Whether each neuron has a second row of weights, its gate."""


def multiplications_table(block: Block, heads: Sequence[int], neurons: Sequence[int]) -> LatencyTable:
    """Multiplications for one input: a head has four projections and two MatMuls with the scores, a neuron two or three rows of weights."""
    head = block.tokens * (4 * block.hidden_size * block.head_size + 2 * block.tokens * block.head_size)
    neuron = block.tokens * block.hidden_size * (3 if block.gated else 2)
    return LatencyTable({count: float(count * head) for count in heads}, {count: float(count * neuron) for count in neurons})


def measured_table(
    block: Block, heads: Sequence[int], neurons: Sequence[int], scratch: Path, progress: Callable[[int, int], None]
) -> LatencyTable:
    """Milliseconds of one block at each level, on one thread; kept in `scratch`, so that a resumed run decides the same.

    A smaller block never costs more than a larger one: where it was measured so, that is noise.
    """
    kept, levels_asked = scratch / "latency.json", {"block": asdict(block), "heads": sorted(heads), "neurons": sorted(neurons)}
    if kept.is_file():
        found = json.loads(kept.read_text())
        if found["asked"] == levels_asked:
            heads_ms, neurons_ms = (
                {int(count): price for count, price in found[part].items()} for part in ("heads", "neurons")
            )
            return LatencyTable(heads_ms, neurons_ms, found.get("differs", 0.0))
    levels = [(_attention, count) for count in sorted(heads)] + [(_feed_forward, count) for count in sorted(neurons)]
    empty, times = _time(_empty(block), block), np.zeros((2, len(levels)))
    for turn in range(2):  # forth and back: a machine that slows down in between affects all levels
        for step, level in enumerate(range(len(levels)) if turn == 0 else reversed(range(len(levels)))):
            progress(turn * len(levels) + step, 2 * len(levels))
            build, count = levels[level]
            times[turn, level] = max(1e-6, (_time(build(block, count), block) - empty) / block.layers)
    least, most = times.min(axis=0), times.max(axis=0)
    attention, feed_forward = _rising(sorted(heads), least[: len(heads)]), _rising(sorted(neurons), least[len(heads) :])
    table = LatencyTable(attention, feed_forward, round(float(np.median(most / least)) - 1, 4))
    scratch.mkdir(parents=True, exist_ok=True)
    document = {"asked": levels_asked, "heads": table.attention, "neurons": table.feed_forward, "differs": table.differs}
    (scratch / "latency.tmp").write_text(json.dumps(document))
    os.replace(scratch / "latency.tmp", kept)
    return table


def _rising(counts: Sequence[int], prices: np.ndarray) -> dict[int, float]:
    lowest = np.minimum.accumulate(prices[::-1])[::-1]
    return {count: float(price) for count, price in zip(counts, lowest, strict=True)}


class _Chain:
    """Nodes and constants of a graph under construction; names count up."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.generator = np.random.default_rng(0)

    def node(
        self, kind: str, inputs: Sequence[str], *, domain: str = MICROSOFT, outputs: int = 1, **options: float
    ) -> list[str]:
        from onnx import helper

        names = [f"n{len(self.nodes)}.{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **options))
        return names

    def constant(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def numbers(self, *shape: int) -> str:
        return self.constant(self.generator.normal(size=shape).astype(np.float32))

    def weight(self, rows: int, columns: int) -> list[str]:
        values = self.generator.integers(-127, 128, (rows, columns)).astype(np.int8)
        scale, zero = np.full(columns, 0.001, dtype=np.float32), np.zeros(columns, dtype=np.int8)
        return [self.constant(values), self.constant(scale), self.constant(zero)]

    def matmul(self, current: str, rows: int, columns: int) -> str:
        """DynamicQuantizeMatMul with its bias."""
        return self.node("DynamicQuantizeMatMul", [current, *self.weight(rows, columns), self.numbers(columns)])[0]

    def residual(self, current: str, added: str | None, size: int) -> str:
        """LayerNormalization of the residual sum with the block's output; with its bias alone where the whole block was removed."""
        scale, shift = self.numbers(size), self.numbers(size)
        total = self.node("Sum", [current, self.numbers(size) if added is None else added], domain="")[0]
        return self.node("LayerNormalization", [total, scale, shift], domain="", epsilon=1e-12)[0]


def _attention(block: Block, heads: int) -> _Chain:
    chain, current, columns = _Chain(), "x", heads * block.head_size
    for _ in range(block.layers):
        added = None
        if heads:
            shown, scale, zero = chain.node("DynamicQuantizeLinear", [current], domain="", outputs=3)
            weight, weight_scale, weight_zero = chain.weight(block.hidden_size, 3 * columns)
            inputs = [shown, weight, chain.numbers(3 * columns), scale, weight_scale, "", zero, weight_zero]
            mixed = chain.node("QAttention", inputs, num_heads=heads)[0]
            added = chain.matmul(mixed, columns, block.hidden_size)
        current = chain.residual(current, added, block.hidden_size)
    return chain


def _feed_forward(block: Block, neurons: int) -> _Chain:
    chain, current, wide = _Chain(), "x", neurons * (2 if block.gated else 1)
    for _ in range(block.layers):
        added = None
        if neurons:
            raised = chain.matmul(current, block.hidden_size, wide)
            if block.gated:
                raised, gate = chain.node("Split", [raised], domain="", outputs=2, axis=-1, num_outputs=2)
                active = chain.node("Mul", [chain.node("Gelu", [raised], domain="")[0], gate], domain="")[0]
            else:
                active = chain.node("Gelu", [raised])[0]
            added = chain.matmul(active, neurons, block.hidden_size)
        current = chain.residual(current, added, block.hidden_size)
    return chain


def _empty(block: Block) -> _Chain:
    chain = _Chain()
    chain.node("Identity", ["x"], domain="")
    return chain


def _time(chain: _Chain, block: Block) -> float:
    """Milliseconds of one call: the 10th percentile, because other load on a machine only ever adds."""
    import onnx
    from onnx import TensorProto, helper

    shape = [1, block.tokens, block.hidden_size]
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", chain.nodes[-1].output[0]))
    graph = helper.make_graph(chain.nodes, "block", [given], [made], chain.constants)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = plain_session(onnx.ModelProto.SerializeToString(model), threads=1)
    feed = {"x": np.random.default_rng(1).normal(size=shape).astype(np.float32)}
    times = []
    for _ in range(RUNS + 5):
        started = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - started)
    return float(np.quantile(times[5:], 0.1)) * 1000
