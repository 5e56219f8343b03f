"""The picture of a grid: quality lost against latency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["COLOURS", "LOST", "draw"]

LOST = 0.01
"""One point: what the page calls kept."""
COLOURS = {"baseline": "#777777", "quantization": "#1f6fb4", "pruning": "#c2571a", "distillation": "#2a8a4a"}


def draw(cells: list[dict[str, Any]], document: dict[str, Any], out: Path) -> None:
    """Quality lost against latency, one mark a cell, the Pareto set in the speed-quality plane as a line."""
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patheffects import withStroke

    timed = [cell for cell in cells if "p50_ms" in cell]
    shown = [cell for cell in timed if cell["name"] != "ONNX Runtime fp32 of the original" and cell["lost"] < 0.15]
    figure, axes = plt.subplots(figsize=(9, 5.2), dpi=110)
    for group, colour in COLOURS.items():
        part = [cell for cell in shown if cell["group"] == group]
        if not part:
            continue
        axes.scatter(
            [cell["p50_ms"] for cell in part], [-100 * cell["lost"] for cell in part], s=[12 * cell["total_mb"] for cell in part],
            color=colour, alpha=0.55, edgecolors="white", label=group,
        )  # fmt: skip
    front: list[dict[str, Any]] = []
    for cell in sorted(shown, key=lambda cell: (cell["p50_ms"], cell["lost"])):
        if not front or cell["lost"] < front[-1]["lost"]:
            front.append(cell)
    axes.step(
        [cell["p50_ms"] for cell in front], [-100 * cell["lost"] for cell in front], where="post", color="#444444", linewidth=1
    )
    wide, high = (np.ptp([cell[name] for cell in shown]) or 1.0 for name in ("p50_ms", "lost"))
    named: list[dict[str, Any]] = []
    for cell in reversed(front):  # neighbours would write over one another: the best of them is named
        if any(abs(cell["p50_ms"] - o["p50_ms"]) < 0.3 * wide and abs(cell["lost"] - o["lost"]) < 0.05 * high for o in named):
            continue
        named.append(cell)
        at = (cell["p50_ms"], -100 * cell["lost"])
        right = cell["p50_ms"] > min(one["p50_ms"] for one in shown) + 0.6 * wide  # its name must not run out of the picture
        shift, side = ((-9, -14), "right") if right else ((9, -14), "left")
        name = axes.annotate(cell["name"], at, xytext=shift, textcoords="offset points", fontsize=8, ha=side, zorder=3)
        name.set_path_effects([withStroke(linewidth=2.5, foreground="white")])  # marks may lie behind it
    axes.margins(0.05, 0.1)
    axes.axhline(-100 * LOST, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_xlabel("median latency of one answer, ms (batch 1, real lengths)")
    axes.set_ylabel(f"points of {cells[0]['quality']['metric']} against the original")
    axes.set_title(f"{document['task']} for {document['target']}; area: model and tokenizer", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")
    figure.tight_layout()
    figure.savefig(out, metadata={"Software": None})
    plt.close(figure)
