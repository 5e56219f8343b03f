"""The page of the grid: tables, pictures and what they say, from the committed results alone."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
LOST = 0.01
"""One point: what the page calls kept."""
COLOURS = {"baseline": "#777777", "quantization": "#1f6fb4", "pruning": "#c2571a", "distillation": "#2a8a4a"}


def write_page() -> None:
    """Write benchmarks/methods/README.md and a picture for each results/*.json."""
    parts = ["# Methods side by side", "", _how(), ""]
    for path in sorted(RESULTS.glob("*.json"), key=lambda path: path.stem):
        document = json.loads(path.read_text(encoding="utf-8"))
        picture = path.with_suffix(".png")
        cells = together(document["cells"])
        draw(cells, document, picture)
        parts += [
            f"## {path.stem}",
            "",
            f"![{path.stem}](results/{picture.name})",
            "",
            *table(cells, document),
            "",
        ]
        parts += [*words(cells, document), ""]
    (HERE / "README.md").write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")


def together(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a cell: the mean quality of its seeds with its range, and the times of the first; `pareto` is set."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        grouped.setdefault(cell["name"], []).append(cell)
    found = []
    for group in grouped.values():
        losses = [-cell["quality"]["difference"] for cell in group]
        found.append(
            {
                **group[0], "seeds": len(group), "lost": mean(losses), "lost_range": (min(losses), max(losses)),
                "value": mean(cell["quality"]["value"] for cell in group), "speedup": group[0]["against_stock"]["speedup"],
            }
        )  # fmt: skip
    for cell in found:
        cell["pareto"] = not any(
            other["lost"] <= cell["lost"] and other["p50_ms"] <= cell["p50_ms"] and other["total_mb"] <= cell["total_mb"]
            and (other["lost"], other["p50_ms"], other["total_mb"]) != (cell["lost"], cell["p50_ms"], cell["total_mb"])
            for other in found
        )  # fmt: skip
    order = list(COLOURS)
    return sorted(found, key=lambda cell: (order.index(cell["group"]), cell["p50_ms"]))


def table(cells: list[dict[str, Any]], document: dict[str, Any]) -> list[str]:
    """The cells as Markdown, those of the Pareto set in bold."""
    metric = cells[0]["quality"]["metric"]
    lines = [
        f"| method | {metric} | points lost (95%) | p50 ms | speed against stock INT8 (95%) | MB | download MB | peak MB | made in |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in cells:
        quality, ratio = cell["quality"], cell["against_stock"]
        low, high = (-100 * bound for bound in reversed(quality["ci95"]))
        name = f"**{cell['name']}**" if cell["pareto"] else cell["name"]
        loss = f"{100 * cell['lost']:+.2f} ({low:+.2f} to {high:+.2f})"
        if cell["seeds"] > 1:
            loss = f"{100 * cell['lost']:+.2f} ({cell['seeds']} seeds {100 * cell['lost_range'][0]:+.2f} to {100 * cell['lost_range'][1]:+.2f})"
        speed = f"{cell['speedup']:.2f}x ({ratio['ci95'][0]:.2f} to {ratio['ci95'][1]:.2f})"
        download = f"{cell['archive_mb']:.1f}" if "archive_mb" in cell else ""
        took = f"{cell['seconds']:.0f} s" if cell["seconds"] else ""
        lines.append(
            f"| {name} | {100 * cell['value']:.2f} | {loss} | {cell['p50_ms']:.3f} | {speed} | {cell['total_mb']:.1f} | {download} | "
            f"{cell['peak_mb']:.0f} | {took} |"
        )
    host, protocol = document["host"], document["protocol"]
    state = "stable" if document["validity"]["stable"] else "**not stable**: " + "; ".join(document["validity"]["reasons"][:3])
    return [
        *lines, "",
        (f"{cells[0]['quality']['n']:,} test rows at their real lengths, batch 1, {protocol['threads']} thread, {protocol['processes']} fresh "
        f"processes a cell, all in one interleaved run on {chip(host)}; {state}. Of a cell with several seeds the quality is their mean "
        f"and the times are the first seed's. {made_on(document)} Bold: no other cell is at least as good in quality, latency and size "
        "at once."),
    ]  # fmt: skip


def chip(host: dict[str, Any]) -> str:
    """The processor, with what it multiplies 8-bit numbers by, which decides what INT8 gains."""
    units = [unit for unit in ("avx512_vnni", "avx_vnni", "amx_int8") if unit in host["isa"]]
    return f"{host['cpu']} ({', '.join(units)})" if units else str(host["cpu"])


def made_on(document: dict[str, Any]) -> str:
    """Where the seconds of "made in" come from, and the seeds that were made elsewhere."""
    making, further = document["making"], document.get("further_seeds")
    together = f", {making['jobs']} cells at once" if making["jobs"] > 1 else ""
    trained = f"one {making['gpu']}" if making["gpu"] else "them too"
    said = f"Made on {document['host']['cores_usable']} cores{together}, training on {trained}."
    if further:
        said += f" Further seeds were trained on an {further['gpu']} and scored on an {further['cpu']}."
    return said


def words(cells: list[dict[str, Any]], document: dict[str, Any]) -> list[str]:
    """What to choose and what does not pay, said from the figures."""
    own = [cell for cell in cells if cell["group"] != "baseline"]
    kept = [cell for cell in own if cell["lost"] <= LOST]
    lines = []
    if kept:
        fast, small = min(kept, key=lambda cell: cell["p50_ms"]), min(kept, key=lambda cell: cell.get("archive_mb", 1e9))
        lines.append(f"- Fastest within one point: **{fast['name']}**, {fast['speedup']:.2f}x off-the-shelf INT8.")
        lines.append(f"- Smallest download within one point: **{small['name']}**, {small.get('archive_mb', 0):.1f} MB.")
    plain = next((cell for cell in own if cell["name"] == "int8 dynamic"), None)
    if plain:
        lines += untrained(kept, plain)
        for cell in own:
            ratio = plain["p50_ms"] / cell["p50_ms"]
            if (
                cell["lost"] > max(LOST, plain["lost"])
                and ratio < 1.05
                and cell.get("archive_mb", 0) > 0.9 * plain["archive_mb"]
            ):
                lines.append(
                    f"- {cell['name']} does not pay here: {100 * cell['lost']:.1f} points for {ratio:.2f}x the speed of plain INT8."
                )
        lines += recovered(own)
        zeros = [cell for cell in own if "zero" in cell["name"]]
        for cell in zeros[:1]:
            share = 100 * (1 - cell["archive_mb"] / plain["archive_mb"])
            ratio = plain["p50_ms"] / cell["p50_ms"]
            lines.append(
                f"- Zeros buy no speed ({cell['name']}: {ratio:.2f}x plain INT8); the download is {share:.0f}% smaller."
            )
    if document.get("left_out"):
        lines.append(f"- Not made here ({len(document['left_out'])}): {'; '.join(document['left_out'])}.")
    lines += [f"- {fault['name']} was not made: {fault['why'].splitlines()[0]}" for fault in document["failed"]]
    return lines


def untrained(kept: list[dict[str, Any]], plain: dict[str, Any]) -> list[str]:
    """The fastest cell within one point that heads, neurons or layers were cut from without training."""
    cut = [
        cell for cell in kept if cell["group"] == "pruning" and not cell["trains"] and cell["p50_ms"] < plain["p50_ms"] / 1.1
    ]
    if not cut:
        return []
    best = min(cut, key=lambda cell: cell["p50_ms"])
    gained = f"{plain['p50_ms'] / best['p50_ms']:.2f}x plain INT8 and {best['speedup']:.2f}x off-the-shelf INT8"
    cost = f"{100 * best['lost']:.2f} points, made in {best['seconds']:.0f} s"
    return [f"- Fastest within one point without training: **{best['name']}**, {gained} for {cost}."]


def recovered(cells: list[dict[str, Any]]) -> list[str]:
    """What training after pruning brings back, for each cell named like an untrained one and more."""
    lines = []
    for cell in cells:
        before = next((other for other in cells if not other["trains"] and cell["name"].startswith(f"{other['name']}, ")), None)
        if before and cell["trains"]:
            back, lost = 100 * (before["lost"] - cell["lost"]), 100 * before["lost"]
            lines.append(
                f"- {cell['name']}: brings {back:+.1f} of the {lost:.1f} points back that {before['name']} alone loses, "
                f"in {cell['seconds'] - before['seconds']:.0f} s more."
            )
    return lines


def draw(cells: list[dict[str, Any]], document: dict[str, Any], out: Path) -> None:
    """Quality lost against latency, one mark a cell, the Pareto set in the speed-quality plane as a line."""
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [cell for cell in cells if cell["name"] != "ONNX Runtime fp32 of the original" and cell["lost"] < 0.15]
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
    for cell in front:  # neighbours would write over one another: the fastest of them is named
        if any(abs(cell["p50_ms"] - o["p50_ms"]) < 0.3 * wide and abs(cell["lost"] - o["lost"]) < 0.05 * high for o in named):
            continue
        named.append(cell)
        at = (cell["p50_ms"], -100 * cell["lost"])
        right = cell["p50_ms"] > min(one["p50_ms"] for one in shown) + 0.6 * wide  # its name must not run out of the picture
        shift, side = ((-9, -14), "right") if right else ((9, -14), "left")
        axes.annotate(cell["name"], at, xytext=shift, textcoords="offset points", fontsize=8, ha=side)
    axes.axhline(-100 * LOST, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_xlabel("median latency of one answer, ms (batch 1, real lengths)")
    axes.set_ylabel(f"points of {cells[0]['quality']['metric']} against the original")
    axes.set_title(f"{document['task']} for {document['target']}; area: model and tokenizer", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")
    figure.tight_layout()
    figure.savefig(out, metadata={"Software": None})
    plt.close(figure)


def _how() -> str:
    return (
        "One original a task, one change a row, through the same export, quantization and measurement as every bundle. Made by "
        "`make methods` (see `run.py` and `cells.py`); read from `results/*.json`. Speed is against "
        "`onnxruntime.quantization.quantize_dynamic` of the same original in the same run. Sections of one task were made on different "
        "machines: compare within a section."
    )


if __name__ == "__main__":
    write_page()
