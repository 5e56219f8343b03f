"""Where the time of a token goes: kernels of a profiled session by kind, and the rate at which each kind of product reads its weights.

    python benchmarks/decoders/where.py [--threads 2]

Adds "where" to results.json, of the INT4 bundles that run.py made.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
TOKENS, FILLED = 48, 512


def kernels(folder: Path, threads: int) -> dict[str, Any]:
    """Milliseconds of a token by kind of kernel over a cache of FILLED tokens, and for products GB/s of weights; medians over TOKENS."""
    import onnx
    import onnxruntime

    from edgekit.runtime.generate.generation import parse_generation
    from edgekit.runtime.generate.graph import check_graph

    generation = parse_generation(json.loads((folder / "generation.json").read_text()), [])
    assert generation is not None
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
        for token in range(TOKENS):
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


def section(document: dict[str, Any]) -> list[str]:
    """The page's part: a table a bundle, and what they say."""
    found, read = document["where"], document["read_gb_per_s"]
    alone, both = (
        sum(row["bytes"] for row in rows.values()) / sum(row["ms"] for row in rows.values() if row["bytes"]) / 1e6
        for rows in (found[f"edgekit INT4, blocks of 32, {threads}"] for threads in ("1 thread", "2 threads"))
    )
    lines = [
        "## Where the time of a token goes", "",
        f"Kernels of a profiled session over a cache of {FILLED} tokens, medians over {TOKENS} tokens; percent of the {read:.0f} GB/s at which two",
        f"threads read memory. One thread's INT4 products read {alone:.0f} GB/s, two threads' {both:.0f}: "
        + ("they nearly double with the cores, so unpacking" if both > 1.5 * alone else "memory holds them back more than unpacking"),
        *(["and multiplying is what takes the time and not the memory, on a machine whose neighbours leave the memory free. More threads, or a"]
          if both > 1.5 * alone else ["does. A"]),
        "kernel that does more a clock tick on blocks of 32 (the vocabulary's product, which is large, does better), would change it; less to read",
        "would not. Attention's share grows with what is in the cache.", "",
    ]  # fmt: skip
    for name, rows in found.items():
        total = sum(row["ms"] for row in rows.values())
        lines += [f"### {name}", "", "| kernels | nodes | ms a token | share | reads weights at |", "|---|---:|---:|---:|---:|"]
        small = [row for row in rows.values() if row["ms"] < 0.01 * total]
        for kind, row in sorted(rows.items(), key=lambda item: -item[1]["ms"]):
            if row not in small:
                speed = row["bytes"] / row["ms"] / 1e6
                rate = f"{speed:.0f} GB/s ({speed / read:.0%})" if row["bytes"] else ""
                lines.append(f"| {kind} | {row['nodes']} | {row['ms']:.2f} | {row['ms'] / total:.0%} | {rate} |")
        rest = sum(row["ms"] for row in small)
        lines += [f"| all others | {sum(row['nodes'] for row in small)} | {rest:.2f} | {rest / total:.0%} | |", ""]
    return lines[:-1]


def main() -> None:
    from run import BUILD, page

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    document = json.loads((HERE / "results.json").read_text())
    document["where"] = {
        f"edgekit {label}, {threads} thread{'s' * (threads > 1)}": kernels(BUILD / folder, threads)
        for label, folder in (("INT4, blocks of 32", "int4-weights-32"), ("INT8, blocks of 32", "int8-weights-32"))
        for threads in (asked.threads, 1)
    }
    (HERE / "results.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    (HERE / "README.md").write_text(page(document))
    print("\n".join(section(document)))


if __name__ == "__main__":
    main()
