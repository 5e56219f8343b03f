"""README.md of this folder, made of its results.

python -m benchmarks.many.page
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import row
from edgekit.runtime.joined import SIZE

__all__ = ["HERE", "WAYS", "page", "write_page"]

HERE = Path(__file__).resolve().parent
WAYS = {
    "jsonl": "`edgekit run --jsonl`, rows through a pipe",
    "each": "`model.each(generator)`",
    "list": "`model(generator, workers=...)`, a list of answers",
}
ABOUT = (
    "Resident memory in MB of the process that answers, by workers ({workers} here), each a thread of it with a session of its own: after 1% of "
    "{texts:,} texts, all different, and after each tenth. `{bundle}` on {chip}. "
    "[The numbers](memory.json). Regenerate with"
)

TOGETHER = (
    'Bundles with static ranges (`[quantize] mode = "static"`), whose answers need not depend on neighbours: the students of clinc150 and '
    "stsb, trained for a moment, and wnut17's original; one thread, {rounds} interleaved rounds on {chip}{priority}. Above, texts of one length, "
    "so many a run, against one by one, from text to answer, and how many of the answers are bit for bit those of their texts alone: of "
    "embeddings none is, as the mean over tokens sums in another order. Below, the bundle's own test rows by `model(texts)`, which joins {size} "
    "texts of one length where that changes no bit and is faster, against `model(text)` one by one. [The numbers](batching.json). Regenerate with"
)


def write_page() -> None:
    """Write it."""
    (HERE / "README.md").write_text(page(), encoding="utf-8")


def page() -> str:
    """README.md of this folder's results."""
    memory: dict[str, Any] = json.loads((HERE / "memory.json").read_text(encoding="utf-8"))
    lines = [
        "# Many texts", "", "## Memory of a million", "",
        ABOUT.format(texts=memory["texts"], bundle=memory["bundle"], workers=memory["workers"], chip=memory["machine"]["chip"]), "",
        f"    {memory['command']}", "",
        row(["way", "1%", "10%", "50%", "100%", "from 10% to 100%"]), "|---|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for way, title in WAYS.items():
        samples = memory["ways"][way]["resident_mb"]
        grown = samples[-1] - samples[1]
        each = f", {1e6 * grown / (0.9 * memory['texts']):.0f} bytes an answer, which the list keeps" if way == "list" else ""
        shown = [f"{samples[place]:.1f}" for place in (0, 1, 5, 10)]
        lines.append(row([title, *shown, f"{grown:+.1f} MB{each}"]))
    return "\n".join([*lines, "", *_batching()]) + "\n"


def _batching() -> list[str]:
    """Whether it pays to run texts together."""
    document: dict[str, Any] = json.loads((HERE / "batching.json").read_text(encoding="utf-8"))
    machine, cells = document["machine"], document["cells"]
    priority = ", at real-time priority (`chrt -r 1`)" if machine["priority"] else ""
    lines = [
        "## Texts that are run together", "",
        TOGETHER.format(rounds=document["rounds"], chip=machine["chip"], priority=priority, size=SIZE), "",
        f"    {document['command']}", "",
        row(["bundle", "tokens", "a run", "alone", "together", "faster by (95% interval)", "answers as alone"]),
        "|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for cell in cells:
        low, high = cell["faster"]["ci95"]
        cells_shown = [
            cell["bundle"], str(cell["tokens"]), str(cell["batch"]), f"{cell['alone_ms']:.3f} ms", f"{cell['batch_ms']:.3f} ms",
            f"{cell['faster']['speedup']:.2f}x ({low:.2f} to {high:.2f})", f"{cell['as_alone']} of {cell['texts']}",
        ]  # fmt: skip
        lines.append(row(cells_shown))
    lines += ["", row(["bundle", "its test rows", "alone", "`model(texts)`", "faster by (95% interval)", "answers as alone"])]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for found in document["rows"]:
        low, high = found["faster"]["ci95"]
        shown = [
            found["bundle"], f"{found['rows']:,}", f"{found['alone_ms']:.3f} ms", f"{found['joined_ms']:.3f} ms",
            f"{found['faster']['speedup']:.2f}x ({low:.2f} to {high:.2f})", f"{found['as_alone']:,} of {found['rows']:,}",
        ]  # fmt: skip
        lines.append(row(shown))
    return lines


if __name__ == "__main__":
    write_page()
