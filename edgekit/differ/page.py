"""A difference as one HTML file, in the style of the reports: no script, nothing fetched."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import edgekit
from edgekit.differ.compare import Difference
from edgekit.differ.comparing import Compared
from edgekit.differ.judge import share
from edgekit.differ.parts import KINDS, MEANINGS, Part
from edgekit.differ.show import explained, grid, headline
from edgekit.report.page import templates
from edgekit.report.svg import inline_svg
from edgekit.runtime.outputs import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["render_page", "write_page"]

DEEPEST = 1e4
"""So many times below the tolerance the picture ends; what is less stands there."""


def write_page(found: Difference, path: Path) -> None:
    """Write the page of `found` to `path`."""
    write_atomically(path, render_page(found))


def render_page(found: Difference) -> str:
    """The whole page. Every text from outside is escaped; the picture is edgekit's own SVG."""
    from markupsafe import Markup

    kinds = {one.part.kind for one in found.parts}
    return templates(Path(__file__).parent).get_template("diff.html.j2").render(
        title=f"{Path(found.other).name} against {Path(found.reference).name}",
        headline=headline(found),
        badges=_badges(found),
        picture=Markup(_picture(found)),
        table=grid(found),
        said=explained(found),
        sides=[("bundle", found.other), (f"reference ({found.reference_kind})", found.reference), ("golden inputs", f"{found.inputs:,}"),
               ("tolerance", f"{share(found.tolerance)}: {found.rules.reason}")],
        meanings=[(Part(kind).kind if kind != "layer" else "out", MEANINGS[kind]) for kind in KINDS if kind in kinds],
        version=edgekit.__version__,
    )  # fmt: skip


def _badges(found: Difference) -> list[tuple[str, str]]:
    if found.first is None:
        return [("good", "no part leaves the tolerance")]
    count = len(found.verdicts)
    return [("bad", found.first.part.name), ("quiet", f"{count} part{'s' if count > 1 else ''} beyond the tolerance")]


def _picture(found: Difference) -> str:
    """Own error and error so far of every part, in the order in which data passes them; "" where there are too few."""
    parts = _drawn(found)
    return inline_svg(lambda colours: _draw(found, colours), "diff") if len(parts) > 2 else ""


def _drawn(found: Difference) -> list[Compared]:
    """The parts that have both errors, as finite numbers."""
    both = [one for one in found.parts if one.own is not None and one.so_far is not None]
    return [one for one in both if one.own and one.so_far and isfinite(one.own.error) and isfinite(one.so_far.error)]


def _labels(parts: list[Compared]) -> tuple[list[int], list[str]]:
    """(places, labels): each layer's number below the last of its bars, of many layers not all; whatever is in no layer by name, the last
    bars on lines of their own."""
    outer = [number for number, one in enumerate(parts) if one.part.layer is None]
    last = {one.part.layer: number for number, one in enumerate(parts) if one.part.layer is not None}
    step = -(-max(len(last), 1) // 16)
    inner = [number for place, number in enumerate(last.values()) if place % step == 0]
    kept, lines = sorted([*outer, *inner]), 0
    labels = []
    for number in kept:
        part = parts[number].part
        below = part.layer is None and number > 0
        lines += below
        labels.append("\n" * lines * below + (part.kind if part.layer is None else str(part.layer)))
    return kept, labels


def _draw(found: Difference, colours: dict[str, str]) -> Figure:
    from matplotlib.figure import Figure

    parts = _drawn(found)
    out = {verdict.part for verdict in found.verdicts}
    figure = Figure(figsize=(10.4, 3.9))
    axes = figure.add_axes((0.09, 0.27, 0.89, 0.7))
    places = range(len(parts))
    least = found.tolerance / DEEPEST
    own = [max(one.own.error, least) for one in parts if one.own is not None]
    so_far = [max(one.so_far.error, least) for one in parts if one.so_far is not None]
    floor = min([*own, *so_far]) / 2
    axes.set_yscale("log")
    axes.set_ylim(floor, max([*own, *so_far, found.tolerance]) * 2)
    axes.bar(
        places,
        own,
        width=0.7,
        color=[colours["best"] if one.part in out else colours["chain"] for one in parts],
        bottom=0,
        linewidth=0,
    )
    axes.plot(places, so_far, color=colours["quiet"], linewidth=1.6)
    axes.axhline(found.tolerance, color=colours["base"], linestyle=(0, (2, 3)), linewidth=1.2)
    axes.set_xticks(*_labels(parts))
    axes.set_xlabel("layers, first to last; a bar for each part", color=colours["quiet"])
    axes.set_ylabel("share of the spread", color=colours["quiet"])
    axes.tick_params(colors=colours["quiet"], length=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{np.format_float_positional(value * 100, trim='-')}%")
    axes.grid(axis="y", color=colours["grid"], linewidth=0.8)
    for spine in axes.spines.values():
        spine.set_color(colours["grid"])
    return figure
