"""Where the time of a token goes: kernels of a profiled session by kind, and the rate at which each kind of product reads its weights.

    python -m benchmarks.decoders.kernels [--threads 2]

Adds "where" to results.json, of the INT4 bundles that benchmarks.decoders.peers made.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decoders.page import page, section
from benchmarks.decoders.subject import BUILD, FILLED, HERE, PROFILED
from benchmarks.pages import write_results


def kernels(folder: Path, threads: int) -> dict[str, Any]:
    """Milliseconds of a token by kind of kernel over a cache of FILLED tokens, and for products GB/s of weights; medians over PROFILED."""
    import onnx
    import onnxruntime

    from edgekit.runtime.generate.generation import parse_generation
    from edgekit.runtime.generate.graph import check_graph

    generation = parse_generation(json.loads((folder / "generation.json").read_text()))
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    lengths = {t.name: int({e.key: e.value for e in t.external_data}.get("length", 0)) for t in model.graph.initializer}
    weights = {node.name: sum(lengths.get(name, 0) for name in node.input) for node in model.graph.node}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as scratch:
        options.profile_file_prefix = str(Path(scratch) / "profile")
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        graph = check_graph(session, generation)
        cache = graph.empty(1, generation.context)
        cache.lengths[:] = FILLED
        for token in range(PROFILED):
            graph.run(np.array([[token + 3]]), cache)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    spent: dict[str, list[float]] = defaultdict(list)
    kinds: dict[str, str] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            spent[name].append(event["dur"] / 1e3)
            kinds[name] = event["args"]["op_name"]
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"ms": 0.0, "bytes": 0.0, "nodes": 0})
    for name, times in spent.items():
        row = found[_called(name, kinds[name], weights)]
        row["ms"] += float(np.median(times[8:]))
        row["bytes"] += weights.get(name, 0) if kinds[name] == "MatMulNBits" else 0
        row["nodes"] += 1
    return dict(found)


def _called(name: str, kind: str, weights: dict[str, int]) -> str:
    """The kind of a kernel; the product with the vocabulary stands for itself."""
    return "MatMulNBits, vocabulary" if kind == "MatMulNBits" and weights.get(name, 0) > 4e7 else kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    document = json.loads((HERE / "results.json").read_text())
    document["where"] = {
        f"edgekit INT4, blocks of 32, {threads} thread{'s' * (threads > 1)}": kernels(BUILD / "int4-weights-32-int4", threads)
        for threads in (asked.threads, 1)
    }
    write_results(HERE / "results.json", document)
    (HERE / "README.md").write_text(page(json.loads((HERE / "results.json").read_text())))  # names sorted, as they are kept
    print("\n".join(section(document)))


if __name__ == "__main__":
    main()
