"""What a head and a neuron cost: multiplications, or measured time of the integer kernels that will run them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import BadInput
from edgekit.models.device import Feed, feed_to, on_fastest_device
from edgekit.models.shapes import LayerShape
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.runtime.providers.session import plain_session

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from edgekit.tasks import EncoderTask

__all__ = ["UnitCosts", "check_budget", "reads_one_token", "unit_costs"]


READING = 4.0
"""Rows that a product of one row counts as, since it takes as long as its weights take to read: in dynamic INT8 a neuron of one row took 0.31 of
the time of twelve (hidden size 384, 384 to 1,536 neurons, one thread of an AVX-512 chip, medians)."""


@dataclass(frozen=True)
class UnitCosts:
    """What a head and a neuron of each layer cost, and what all layers cost that pruning units cannot lower."""

    heads: tuple[float, ...]
    neurons: tuple[float, ...]
    fixed: float = 0.0

    def of(self, heads: Sequence[int], neurons: Sequence[int]) -> float:
        """Cost of so many heads and neurons of each layer, without the fixed part."""
        return sum(count * cost for count, cost in zip((*heads, *neurons), (*self.heads, *self.neurons), strict=True))

    def whole(self, shapes: Sequence[LayerShape]) -> float:
        """Cost of all heads and neurons of `shapes`."""
        return self.of([shape.heads for shape in shapes], [shape.neurons for shape in shapes])


def reads_one_token(model: PreTrainedModel, task: EncoderTask, feed: Feed) -> bool:
    """Whether the task's output depends on one and the same token of the last layer alone, as a classifier's does on the first.

    The exported graph computes what follows the last attention for that token only (exporter/fusions/selected_token.py). It is told by the
    gradient with respect to the last layer's output on `feed`, int64 (b, s) each.
    """
    import torch

    from edgekit.models.anatomy import layers_of

    seen: list[torch.Tensor] = []

    def catch(_: torch.nn.Module, __: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> object:
        seen.append((output[0] if isinstance(output, tuple) else output).detach().requires_grad_())
        return (seen[0], *output[1:]) if isinstance(output, tuple) else seen[0]

    handle = layers_of(model)[-1].register_forward_hook(catch)
    try:
        with torch.enable_grad(), on_fastest_device(model) as device:
            there = feed_to(feed, device)
            output = task.tensor(model, model(**there), there["attention_mask"])
            weights = torch.rand(output.shape, generator=torch.Generator().manual_seed(0)).to(device)
            (gradient,) = torch.autograd.grad((output * weights).sum(), seen[0])
    finally:
        handle.remove()
    return gradient.ndim == 3 and gradient.shape[1] > 1 and int(gradient.abs().amax(dim=(0, 2)).count_nonzero()) == 1


def unit_costs(
    model: PreTrainedModel, shapes: Sequence[LayerShape], tokens: float, *, one_token: bool, measured: bool, scratch: Path
) -> UnitCosts:
    """Costs of the units of layers of `shapes` for one input of `tokens` tokens.

    Multiplications: a head has four projections of hidden size x head size and two MatMuls with the attention scores; a neuron has two
    weights for each hidden dimension. With `one_token` the last layer's output projection and neurons work on one token, which counts as
    `READING`. Measured:
    milliseconds of dynamic INT8 MatMuls on one thread of this machine, a straight line through two sizes; kept in `scratch`, so that a
    resumed run decides the same.
    """
    hidden, size, others = model.config.hidden_size, shapes[0].head_size, len(shapes) - one_token
    if not measured:
        last = min(tokens, READING) if one_token else tokens
        head, last_head = (
            computed * hidden * size + tokens * (3 * hidden * size + 2 * tokens * size) for computed in (tokens, last)
        )
        neuron, last_neuron = (computed * 2 * hidden for computed in (tokens, last))
        return UnitCosts(_layers(head, last_head, others, one_token), _layers(neuron, last_neuron, others, one_token))
    kept = scratch / "costs.json"
    if kept.is_file():
        found = json.loads(kept.read_text())
        return UnitCosts(tuple(found["heads"]), tuple(found["neurons"]), found["fixed"])
    rows = max(1, round(tokens))
    most_heads, most_neurons = max(shape.heads for shape in shapes), max(shape.neurons for shape in shapes)
    sizes = [(rows, most_heads * size, 4), (rows, most_neurons, 2), (1, most_neurons, 2)]
    (head, attention), (neuron, feed), (last_neuron, last_feed) = (
        _line(count, hidden, most, matmuls) for count, most, matmuls in sizes
    )
    head, last_head = head * size, head * size * (3 + min(1.0, READING / rows)) / 4
    fixed = len(shapes) * attention + others * feed + one_token * last_feed
    costs = UnitCosts(_layers(head, last_head, others, one_token), _layers(neuron, last_neuron, others, one_token), fixed)
    kept.write_text(json.dumps(asdict(costs)))
    return costs


def _layers(cost: float, last: float, others: int, one_token: bool) -> tuple[float, ...]:
    return (*[cost] * others, *[last] * one_token)


def _line(rows: int, hidden: int, most: int, matmuls: int) -> tuple[float, float]:
    """(Milliseconds for each unit of a size, milliseconds that are left of no size) of MatMuls up to size `most`."""
    least = max(16, most // 4)
    large, small = _time(rows, hidden, most, matmuls), _time(rows, hidden, least, matmuls)
    slope = max(1e-9, (large - small) / max(1, most - least))
    return slope, max(0.0, large - slope * most)


def check_budget(budget: float, costs: UnitCosts, whole: float, multiple: int, where: str) -> None:
    """Check that `budget`, the cost that heads and neurons may keep of their `whole`, suffices for one of them.

    Raises:
        BadInput: it does not; the message says the least share that can be reached, and why.
    """
    least, unit = min((min(costs.heads), "one head"), (min(costs.neurons) * multiple, f"{multiple} neurons"))
    if budget >= least:
        return
    fixed = costs.fixed
    share = (budget + fixed) / (whole + fixed)
    held = f"fixed costs that no head or neuron lowers take {fixed / (whole + fixed):.3g}, and " if fixed else ""
    raise BadInput(
        f"a share of {share:.3g} cannot be met by removing heads and neurons: {(least + fixed) / (whole + fixed):.3g} is the "
        f"least; {held}the smallest part that can stay is {unit} of one layer",
        where=where,
        fix="keep more, or remove whole layers first, with `layers` of prune-structured or distill",
    )


def _time(rows: int, hidden: int, units: int, matmuls: int) -> float:
    """Milliseconds of `matmuls` dynamic INT8 MatMuls between sizes `hidden` and `units`, half of them each way."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    nodes, constants, current, columns = [], [], "x", hidden
    for number in range(matmuls):
        out = units if columns == hidden else hidden
        if matmuls == 4 and number < 2:  # query and key: they read the same input, and nothing reads them
            out = units
        values = generator.integers(-127, 128, (columns, out)).astype(np.int8)
        constants += [
            numpy_helper.from_array(values, f"w{number}"),
            numpy_helper.from_array(np.full(out, 0.01, dtype=np.float32), f"s{number}"),
            numpy_helper.from_array(np.zeros(out, dtype=np.int8), f"z{number}"),
        ]
        inputs = [current, f"w{number}", f"s{number}", f"z{number}"]
        nodes.append(helper.make_node("DynamicQuantizeMatMul", inputs, [f"y{number}"], domain=MICROSOFT))
        if not (matmuls == 4 and number < 2):
            current, columns = f"y{number}", out
    outputs = [helper.make_tensor_value_info(f"y{number}", TensorProto.FLOAT, None) for number in range(matmuls)]
    graph = helper.make_graph(
        nodes, "cost", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, rows, hidden])], outputs, constants
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = plain_session(onnx.ModelProto.SerializeToString(model), threads=1)
    feed = {"x": generator.normal(size=(1, rows, hidden)).astype(np.float32)}
    times = []
    for _ in range(300):
        started = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - started)
    return float(np.median(times[50:])) * 1000
