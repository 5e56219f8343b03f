"""All tasks of the grid in one table, and what holds on every one of them."""

from __future__ import annotations

from math import exp, log
from statistics import mean
from typing import Any

from benchmarks.methods.picture import COLOURS, LOST
from benchmarks.pages import row

__all__ = ["across"]

Grid = dict[str, list[dict[str, Any]]]
"""For each task its cells, as `page.together` gives them."""


def across(grid: Grid) -> list[str]:
    """A section: points lost and speed of each cell on each task, and which cells keep or lose quality on all of them."""
    names = {cell["name"]: cell["group"] for cells in grid.values() for cell in cells}
    found = {name: {task: _cell(cells, name) for task, cells in grid.items()} for name in names}
    order = sorted(names, key=lambda name: (list(COLOURS).index(names[name]), -_speed(found[name])))
    lines = [
        "## Across tasks", "",
        "Points lost against the original, and speed against off-the-shelf INT8; bold where at most one point is lost.", "",
        row(["method", *grid]), f"|---|{'---:|' * len(grid)}",
        *(row([name, *(_shown(found[name][task]) for task in grid)]) for name in order), "",
    ]  # fmt: skip
    return [*lines, *_words({name: found[name] for name in order if names[name] != "baseline"}, len(grid)), ""]


def _cell(cells: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((cell for cell in cells if cell["name"] == name), None)


def _shown(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    lost = f"{round(100 * cell['lost'], 1) + 0.0:+.1f}"  # no negative nought
    speed = f", {cell['speedup']:.1f}x" if "speedup" in cell else ""
    return f"{f'**{lost}**' if cell['lost'] <= LOST else lost}{speed}"


def _speed(of_tasks: dict[str, dict[str, Any] | None]) -> float:
    """Geometric mean of the speeds over the tasks that a cell was timed on; 0 where it never was."""
    speeds = [cell["speedup"] for cell in of_tasks.values() if cell and "speedup" in cell]
    return exp(mean(map(log, speeds))) if speeds else 0.0


def _words(found: dict[str, dict[str, dict[str, Any] | None]], tasks: int) -> list[str]:
    """What may be chosen without looking at the task, and what may not."""
    everywhere = {name: [cell["lost"] for cell in one.values() if cell] for name, one in found.items()}
    everywhere = {name: lost for name, lost in everywhere.items() if len(lost) == tasks}
    kept = [name for name, lost in everywhere.items() if max(lost) <= LOST]
    never = [name for name, lost in everywhere.items() if min(lost) > LOST]
    mixed = [name for name, lost in everywhere.items() if min(lost) <= LOST and max(lost) > 5 * LOST]
    lines = []
    if kept:
        listed = "; ".join(
            f"{name} ({_speed(found[name]):.1f}x)" for name in sorted(kept, key=lambda name: -_speed(found[name]))
        )
        lines.append(f"- At most one point lost on all {tasks} tasks, with the mean speed: {listed}.")
    if never:
        lines.append(f"- More than a point lost on every task: {'; '.join(never)}.")
    if mixed:
        lines.append(
            f"- Within a point on one task and more than five lost on another, so never without a measurement: {'; '.join(mixed)}."
        )
    return lines
