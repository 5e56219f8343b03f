"""What a head and a neuron cost: multiplications, or measured time of the integer kernels that will run them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import BadInput
from edgekit.models.shapes import LayerShape
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.runtime.providers.session import plain_session

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["check_budget", "unit_costs"]


def unit_costs(
    model: PreTrainedModel, shapes: Sequence[LayerShape], tokens: float, *, measured: bool, scratch: Path
) -> tuple[float, float, float]:
    """(cost of a head, cost of a neuron, cost of all layers that pruning units cannot lower).

    Multiplications for one input of `tokens` tokens: a head has four projections of hidden size x head size and two MatMuls with
    the attention scores; a neuron has two weights for each hidden dimension. Measured: milliseconds of dynamic INT8 MatMuls on one
    thread of this machine, a straight line through two sizes; kept in `scratch`, so that a resumed run decides the same.
    """
    hidden, size = model.config.hidden_size, shapes[0].head_size
    if not measured:
        return tokens * (4 * hidden * size + 2 * tokens * size), tokens * 2 * hidden, 0.0
    kept = scratch / "costs.json"
    if kept.is_file():
        head, neuron, fixed = json.loads(kept.read_text())
        return head, neuron, fixed
    rows = max(1, round(tokens))
    most_heads, most_neurons = max(shape.heads for shape in shapes), max(shape.neurons for shape in shapes)
    attention = [_time(rows, hidden, heads * size, 4) for heads in (most_heads, max(1, most_heads // 4))]
    feed = [_time(rows, hidden, neurons, 2) for neurons in (most_neurons, max(16, most_neurons // 4))]
    head = max(1e-9, (attention[0] - attention[1]) / (most_heads - max(1, most_heads // 4)))
    neuron = max(1e-9, (feed[0] - feed[1]) / (most_neurons - max(16, most_neurons // 4)))
    fixed = len(shapes) * max(0.0, attention[0] - head * most_heads + feed[0] - neuron * most_neurons)
    kept.write_text(json.dumps([head, neuron, fixed]))
    return head, neuron, fixed


def check_budget(budget: float, head: float, neuron: float, fixed: float, whole: float, multiple: int, where: str) -> None:
    """Check that `budget`, the cost that heads and neurons may keep of their `whole`, suffices for one of them.

    Raises:
        BadInput: it does not; the message says the least share that can be reached, and why.
    """
    least, unit = min((head, "one head"), (neuron * multiple, f"{multiple} neurons"))
    if budget >= least:
        return
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
