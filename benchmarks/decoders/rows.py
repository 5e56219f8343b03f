"""What a block of a prompt costs in ONNX Runtime's kernels: one product of Qwen2.5-0.5B's shapes over 1 to 512 rows, in every number format.

    python -m benchmarks.decoders.rows [--rounds 15]

The kernels are asked in turn, one thread each: MatMulNBits by bits, block and accuracy_level, the float32 MatMul that unpacking once would
lead to, and DynamicQuantizeMatMul, whose integer product has one scale a column. Writes rows.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib import metadata
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.decoders.page import page
from benchmarks.decoders.subject import HERE, SHAPE
from benchmarks.pages import write_results
from edgekit.host import detect
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.quantize.blocks import quantize_blocks
from edgekit.quantize.weights import packed
from edgekit.runtime.providers.session import plain_session

ROWS = (1, 32, 128, 512)
INSIDE, OUTSIDE = int(str(SHAPE["hidden_size"])), int(str(SHAPE["intermediate_size"]))
FLOAT = "float32"
BY_COLUMN = "8 bits by column (DynamicQuantizeMatMul)"


def models(weight: np.ndarray) -> dict[str, bytes]:
    """A graph of one product with `weight` (in, out) in each number format."""
    found = {}
    for bits in (4, 8):
        for block in (32, 64, 128):
            blocks = quantize_blocks(weight, bits, block)
            constants = {"w": packed(blocks.values, bits), "s": blocks.scale}
            for level in (4, 0):
                options = {"K": INSIDE, "N": OUTSIDE, "bits": bits, "block_size": block, "accuracy_level": level}
                node = helper.make_node("MatMulNBits", ["x", *constants], ["y"], domain=MICROSOFT, **options)
                found[f"{bits} bits, blocks of {block}, accuracy_level {level}"] = graph(node, constants)
    found[FLOAT] = graph(helper.make_node("MatMul", ["x", "w"], ["y"]), {"w": weight})
    scale = np.abs(weight).max(axis=0) / np.float32(127)
    constants = {"w": np.rint(weight / scale).astype(np.int8), "s": scale, "z": np.zeros(OUTSIDE, dtype=np.int8)}
    found[BY_COLUMN] = graph(helper.make_node("DynamicQuantizeMatMul", ["x", *constants], ["y"], domain=MICROSOFT), constants)
    return found


def graph(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> bytes:
    """A model of `node` alone, from x (rows, in) to y (rows, out)."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
        for name, width in (("x", INSIDE), ("y", OUTSIDE))
    ]
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    whole = helper.make_graph([node], "product", ends[:1], ends[1:], held)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
    data: bytes = helper.make_model(whole, opset_imports=opsets, ir_version=10).SerializeToString()
    return data


def measure(rounds: int) -> dict[str, Any]:
    """The document."""
    draw = np.random.default_rng(0)
    weight = (draw.normal(size=(INSIDE, OUTSIDE)) / np.sqrt(INSIDE)).astype(np.float32)
    sessions = {name: plain_session(model, threads=1) for name, model in models(weight).items()}
    inputs = {rows: draw.normal(size=(rows, INSIDE)).astype(np.float32) for rows in ROWS}
    times: dict[str, dict[int, list[float]]] = {name: {rows: [] for rows in ROWS} for name in sessions}
    for number in range(rounds + 1):  # the first one warms up
        for rows, x in inputs.items():
            for name, session in sessions.items():
                start = time.perf_counter()
                session.run(None, {"x": x})
                if number:
                    times[name][rows].append(1e3 * (time.perf_counter() - start))
    return {
        "command": f"python -m benchmarks.decoders.rows --rounds {rounds}",
        "chip": detect().cpu, "threads": 1, "rounds": rounds, "inside": INSIDE, "outside": OUTSIDE, "rows": [*ROWS],
        "tools": {"onnxruntime": metadata.version("onnxruntime")},
        "kernels": [
            {
                "name": name,
                "ms": {str(rows): float(np.median(of_rows)) for rows, of_rows in samples.items()},
                "quartiles_ms": {str(rows): [float(q) for q in np.percentile(of_rows, [25, 75])] for rows, of_rows in samples.items()},
            }
            for name, samples in times.items()
        ],
    }  # fmt: skip


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=15)
    write_results(HERE / "rows.json", measure(parser.parse_args().rounds))
    (HERE / "README.md").write_text(page(json.loads((HERE / "results.json").read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
