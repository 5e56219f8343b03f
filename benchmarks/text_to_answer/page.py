"""README.md of this folder, made of its results.

python -m benchmarks.text_to_answer.page
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import row, shortened

__all__ = ["HERE", "page", "read", "write_page"]

HERE = Path(__file__).resolve().parent
PEER = {
    "text-classification": "optimum's ONNX Runtime model in transformers.pipeline",
    "token-classification": "optimum's ONNX Runtime model in transformers.pipeline",
    "feature-extraction": "sentence-transformers' ONNX backend",
}
ABOUT = (
    "From a text to its answer in Python, one text at a time, one thread each on one core: the bundle by `load`, the original by "
    "`transformers.pipeline` "
    "in PyTorch (of embeddings with mean and norm), and the original in dynamic INT8 (`avx512_vnni`) by the libraries' own hands. Test rows, "
    "processes "
    "interleaved in {rounds} rounds; medians, 95% intervals of ratios. Beside the graph: what an answer takes beyond the graph alone, on texts of 9 "
    "to 11 "
    "words, median and quartiles of the rounds."
)
MANY = (
    "{texts:,} texts at once, {rounds} rounds: by `model(texts, workers=...)` each by itself, on one core and on all {cores}; by the libraries in "
    "batches "
    "of 32 on all cores. Sharing out: what the thread that reads texts and gives answers takes of all CPU time; where other work holds a core, it "
    "says more of what sharing out costs than the two times do."
)


def write_page() -> None:
    """Write it."""
    (HERE / "README.md").write_text(page(), encoding="utf-8")


def read() -> dict[str, Any]:
    """The result."""
    document: dict[str, Any] = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    return document


def page() -> str:
    """README.md of this folder's results."""
    document = read()
    cells, machine = document["cells"], document["machine"]
    busy = max(load for cell in cells for load in cell["load"])
    priority = ", at real-time priority (`chrt -r 1`)" if machine["priority"] else ""
    lines = [
        "# Text in, answer out", "",
        f"{machine['chip']}, {machine['cores']} cores{priority}; load at most {busy:.1f}. {document['note']}".strip(),
        ABOUT.format(rounds=cells[0]["rounds"]), libraries(document["peers"]), "",
        "    pip install --target PEERS --no-deps -r benchmarks/text_to_answer/peers.txt", f"    {document['command']}", "",
        row([
            "bundle", "text to answer", "the graph alone", "beside the graph", "transformers.pipeline", "faster by", "INT8 of the libraries",
            "faster by",
        ]),
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for cell in cells:
        medians, beside = cell["median_ms"], cell["beside_graph_us"]
        low, high = beside["quartiles"]
        lines.append(
            row([
                f"{cell['bundle']} ({named(cell['of'])})", f"{medians['edgekit']:.3f} ms", f"{medians['graph']:.3f} ms",
                f"{beside['median']:.0f} us ({low:.0f} to {high:.0f})",
                f"{medians['pipeline']:.2f} ms", ratio(cell["faster_than"]["pipeline"]),
                f"{medians['int8']:.2f} ms", ratio(cell["faster_than"]["int8"]),
            ])
        )  # fmt: skip
    first = cells[0]["many"]
    lines += [
        "", MANY.format(texts=first["texts"], rounds=first["rounds"], cores=machine["cores"]), "",
        row(["bundle", "one core", "all cores", "faster by", "sharing out", "INT8 of the libraries", "faster by"]),
        "|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for cell in cells:
        found, count = cell["many"], cell["many"]["texts"]
        speeds = {name: f"{count / seconds:,.0f}/s" for name, seconds in found["seconds"].items()}
        lines.append(
            row([
                cell["bundle"], speeds["one"], speeds["all"], ratio(found["all_cores"]), f"{100 * found['parent_share']:.1f}%",
                f"{speeds['int8']} ({PEER[cell['task']]})", ratio(found["faster_than_int8"]),
            ])
        )  # fmt: skip
    return "\n".join(lines) + "\n"


def named(bundle: dict[str, Any]) -> str:
    """Which bundle it is."""
    fewer = ", trained for fewer epochs than the recipe's" if shortened(bundle["recipe"], bundle["epochs"]) else ""
    return f"seed {bundle['seed']}, {bundle['metric']} {100 * bundle['quality']:.2f}, `{bundle['sha256'][:8]}`{fewer}"


def libraries(peers: list[str]) -> str:
    """Which releases were compared with."""
    named = ", ".join(f"`{one}`" for one in peers)
    return (
        f"The libraries: {named}, and this project's transformers for the pipeline in PyTorch. [The numbers](results.json). "
        "Regenerate with"
    )


def ratio(found: dict[str, Any]) -> str:
    """A ratio with its interval."""
    low, high = found["ci95"]
    return f"{found['speedup']:.1f}x ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    write_page()
