"""The page of the grid: tables, pictures and what they say, from the committed results alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.methods.across import across
from benchmarks.methods.picture import COLOURS, LOST, draw

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def write_page(folder: Path = HERE) -> None:
    """Write README.md of `folder` and a picture for each of its results/*.json."""
    sections: list[str] = []
    grid: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder / "results").glob("*.json"), key=lambda path: path.stem):
        document = json.loads(path.read_text(encoding="utf-8"))
        picture = path.with_suffix(".png")
        cells = together(document["cells"])
        draw(cells, document, picture)
        seen = grid.setdefault(document["task"], [])  # a task's own file comes first; others add what it lacks
        seen += [cell for cell in cells if cell["name"] not in {one["name"] for one in seen}]
        sections += [
            f"## {path.stem}",
            "",
            f"![{path.stem}](results/{picture.name})",
            "",
            *table(cells, document),
            "",
        ]
        sections += [*words(cells, document), ""]
    parts = ["# Methods side by side", "", _how(), "", *across(grid), *sections]
    (folder / "README.md").write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")


def together(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a cell: the mean quality of its seeds with its range, and the times of the first, if any; `pareto` is set."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        grouped.setdefault(cell["name"], []).append(cell)
    found = []
    for group in grouped.values():
        losses = [-cell["quality"]["difference"] for cell in group]
        times = {"speedup": group[0]["against_stock"]["speedup"]} if "p50_ms" in group[0] else {}
        found.append(
            {
                **group[0], **times, "seeds": len(group), "lost": mean(losses), "lost_range": (min(losses), max(losses)),
                "value": mean(cell["quality"]["value"] for cell in group), "sizes": sorted(cell["total_mb"] for cell in group),
            }
        )  # fmt: skip
    timed = [cell for cell in found if "p50_ms" in cell]
    for cell in found:
        cell["pareto"] = cell in timed and not any(
            other["lost"] <= cell["lost"] and other["p50_ms"] <= cell["p50_ms"] and other["total_mb"] <= cell["total_mb"]
            and (other["lost"], other["p50_ms"], other["total_mb"]) != (cell["lost"], cell["p50_ms"], cell["total_mb"])
            for other in timed
        )  # fmt: skip
    order = list(COLOURS)
    return sorted(found, key=lambda cell: (order.index(cell["group"]), cell.get("p50_ms", math.inf)))


def table(cells: list[dict[str, Any]], document: dict[str, Any]) -> list[str]:
    """The cells as Markdown, those of the Pareto set in bold."""
    metric = cells[0]["quality"]["metric"]
    lines = [
        f"| method | {metric} | points lost (95%) | p50 ms | speed against stock INT8 (95%) | MB | download MB | peak MB | made in |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in cells:
        quality = cell["quality"]
        low, high = (-100 * bound for bound in reversed(quality["ci95"]))
        name = f"**{cell['name']}**" if cell["pareto"] else cell["name"]
        loss = f"{100 * cell['lost']:+.2f} ({low:+.2f} to {high:+.2f})"
        if cell["seeds"] > 1:
            loss = f"{100 * cell['lost']:+.2f} ({cell['seeds']} seeds {100 * cell['lost_range'][0]:+.2f} to {100 * cell['lost_range'][1]:+.2f})"
        speed, p50, peak = "", "", ""
        if "p50_ms" in cell:
            low, high = cell["against_stock"]["ci95"]
            speed, p50 = f"{cell['speedup']:.2f}x ({low:.2f} to {high:.2f})", f"{cell['p50_ms']:.3f}"
            peak = f"{cell['peak_mb']:.0f}"
        download = f"{cell['archive_mb']:.1f}" if "archive_mb" in cell else ""
        took = f"{cell['seconds']:.0f} s" if cell["seconds"] else ""
        lines.append(
            f"| {name} | {100 * cell['value']:.2f} | {loss} | {p50} | {speed} | {cell['total_mb']:.1f} | {download} | "
            f"{peak} | {took} |"
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
    """The CPU, with what it multiplies 8-bit numbers by, which decides what INT8 gains."""
    units = [unit for unit in ("avx512_vnni", "avx_vnni", "amx_int8") if unit in host["isa"]]
    return f"{host['cpu']} ({', '.join(units)})" if units else str(host["cpu"])


def made_on(document: dict[str, Any]) -> str:
    """Where the seconds of "made in" come from, and what was made elsewhere, which has no times."""
    making = document["making"]
    together = f", {making['jobs']} cells at once" if making["jobs"] > 1 else ""
    said = f"Made on {document['host']['cores_usable']} cores{together}, training on {_trainer(making)}."
    timed = {cell["name"] for cell in document["cells"] if "p50_ms" in cell}
    machines: dict[str, list[str]] = {}
    for other in document.get("elsewhere", []):
        machines.setdefault(f"{other['cpu']}, training on {_trainer(other)}", []).extend(name for name, _ in other["cells"])
    for machine, names in machines.items():
        seeded, untimed = len(set(names) & timed), len(set(names) - timed)
        parts = [f"further seeds of {_count(seeded)}"] * bool(seeded)
        parts += [f"{_count(untimed)} whose times are blank"] * bool(untimed)
        said += f" In another run, on {machine}: {' and '.join(parts)}."
    return said


def _count(cells: int) -> str:
    return f"{cells} cell{'s' * (cells != 1)}"


def _trainer(making: dict[str, Any]) -> str:
    return f"one {making['gpu']}" if making["gpu"] else "the CPU"


def words(cells: list[dict[str, Any]], document: dict[str, Any]) -> list[str]:
    """What to choose and what does not pay, said from the figures of the cells that were timed."""
    made = [cell for cell in cells if cell["group"] != "baseline"]
    own = [cell for cell in made if "p50_ms" in cell]
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
        lines += recovered(made)
        lines += disturbed(made, document["making"]["jobs"])
        zeros = [cell for cell in own if "zero" in cell["name"]]
        if zeros:
            share = 100 * (1 - min(cell["archive_mb"] for cell in zeros) / plain["archive_mb"])
            ratios = sorted(plain["p50_ms"] / cell["p50_ms"] for cell in zeros)
            lines.append(
                f"- Zeros buy no speed, as the kernels multiply them like any number: {ratios[0]:.2f}x to {ratios[-1]:.2f}x plain INT8 is "
                f"how far equal work differs in this run. The download is up to {share:.0f}% smaller."
            )
    for cell in made:
        if cell["whole"]:
            lines.append(
                f"- {cell['name'].capitalize()}, as it was when this was made: {'; '.join(map(_step, cell['compress']))}."
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
    """What training after pruning brings back, for each cell named like an untrained one that lost something."""
    lines = []
    for cell in cells:
        before = next((other for other in cells if not other["trains"] and cell["name"].startswith(f"{other['name']}, ")), None)
        if before and cell["trains"] and before["lost"] > 0:
            lines.append(
                f"- {cell['name']}: {100 * cell['lost']:+.1f} points lost where {before['name']} alone loses "
                f"{100 * before['lost']:.1f}, for {cell['seconds'] - before['seconds']:.0f} s more."
            )
    return lines


def disturbed(cells: list[dict[str, Any]], jobs: int) -> list[str]:
    """Cells whose seeds were cut to different sizes, for which block times measured beside other jobs are one reason."""
    if jobs == 1:
        return []
    timed = [cell for cell in cells if any(step["method"] == "prune-oneshot" for step in cell["compress"])]
    return [
        f"- {cell['name']}: its seeds were cut to different sizes ({cell['sizes'][0]:.1f} to {cell['sizes'][-1]:.1f} MB). Each searched by "
        f"its own draws and its own table of block times, measured while {jobs} cells were being made."
        for cell in timed
        if cell["sizes"][-1] > 1.02 * cell["sizes"][0]
    ]


def _step(step: dict[str, Any]) -> str:
    """`{"method": "distill", "epochs": 2}` as `distill (epochs 2)`."""
    settings = ", ".join(f"{name} {value}" for name, value in step.items() if name != "method")
    return f"{step['method']} ({settings})" if settings else str(step["method"])


def _how() -> str:
    return (
        "One original a task, one change a row, through the same export, quantization and measurement as every bundle. Made by "
        "`make methods` (see `grid.py` and `cells.py`); read from `results/*.json`. Speed is against "
        "`onnxruntime.quantization.quantize_dynamic` of the same original in the same run. Sections of one task were made on different "
        "machines: compare within a section."
    )


if __name__ == "__main__":
    write_page()
