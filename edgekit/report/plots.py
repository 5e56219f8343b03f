"""The pictures: quality against latency with size as area, and latency against input length. matplotlib, imported when drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit.report.facts import Facts
from edgekit.report.format import megabytes, milliseconds, percent, short
from edgekit.report.label_layout import Box, lay_out_labels
from edgekit.report.measured import Timing
from edgekit.report.records import Variant
from edgekit.report.svg import drawing, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

__all__ = ["describe", "dress", "lengths_svg", "picture_svg", "write_picture"]

LIGHT = {
    "ink": "#1b1f24",
    "quiet": "#5b6470",
    "grid": "#dfe3e8",
    "base": "#8a94a1",
    "chain": "#3b76c4",
    "best": "#c2410c",
    "paper": "#ffffff",
}
LARGEST = 2600.0
"""Area of the largest bubble, in square points."""


@dataclass(frozen=True)
class _Point:
    variant: Variant
    x: float
    low: float
    high: float
    y: float
    """Quality in percent, and the ends of its paired interval."""
    down: float
    up: float
    role: str
    area: float


def picture_svg(facts: Facts) -> str:
    """The quality-latency-size picture as inline SVG, coloured through CSS variables; the same facts give the same text.

    Without a measurement the horizontal axis is size instead of latency. "" where fewer than two variants have a position in it.
    """
    points = _points(facts)
    return inline_svg(lambda colours: _draw(facts, points, colours), f"picture {facts.name}") if len(points) > 1 else ""


def lengths_svg(facts: Facts) -> str:
    """Median latency by input length, a line a variant; "" where fixed lengths were not timed."""
    timed = [variant for variant in facts.variants if len(_lengths(variant)) > 1]
    return inline_svg(lambda colours: _draw_lengths(timed, colours), f"lengths {facts.name}") if timed else ""


def write_picture(folder: Path, path: Path) -> Path:
    """Write the quality-latency-size picture of result `folder` as a PNG on white, for a README.

    Raises:
        BadInput: no sound result there, or too few variants in it.
    """
    from edgekit.errors import BadInput
    from edgekit.report.facts import read_facts

    facts = read_facts(folder)
    points = _points(facts)
    if len(points) < 2:
        raise BadInput("fewer than two variants have quality and latency", where=str(folder))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with drawing(lambda: _draw(facts, points, LIGHT)) as figure:
            figure.savefig(temporary, format="png", dpi=160, facecolor=LIGHT["paper"], metadata={"Software": None})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def describe(facts: Facts) -> str:
    """The picture in words, for those who do not see it."""
    parts = []
    for point in _points(facts):
        lead = point.variant.lead
        speed = f"{milliseconds(lead.p50)} ms, " if lead else ""
        parts.append(f"{short(point.variant)}: {speed}{percent(point.y / 100)}, {megabytes(point.variant.total_mb or 0)} MB")
    return "; ".join(parts)


def _points(facts: Facts) -> list[_Point]:
    """Variants that have all three coordinates."""
    measured = facts.measurement is not None
    whole = [variant for variant in facts.variants if variant.quality and variant.total_mb and (variant.lead or not measured)]
    largest = max((variant.total_mb or 0.0 for variant in whole), default=1.0)
    found = []
    for variant in whole:
        quality, size, lead = variant.quality, variant.total_mb or 0.0, variant.lead
        assert quality is not None  # filtered above
        original = quality.value - quality.difference
        x, low, high = (lead.p50, lead.low, lead.high) if lead else (size, size, size)
        role = "best" if variant.name == "bundle" else "chain" if variant.name.startswith("after-") else "base"
        found.append(
            _Point(
                variant,
                x,
                low,
                high,
                quality.value * 100,
                (original + quality.low) * 100,
                (original + quality.high) * 100,
                role,
                LARGEST * size / largest,
            )
        )
    return found


def _chain(points: Sequence[_Point]) -> list[_Point]:
    """From the original in ONNX Runtime through every step to the bundle."""
    return [point for point in points if point.variant.name == "ort-fp32" or point.role != "base"]


def _frontier(points: Sequence[_Point]) -> list[_Point]:
    """Variants that none other beats in both quality and the horizontal axis, from left to right."""
    best: list[_Point] = []
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if not best or point.y > best[-1].y:
            best.append(point)
    return best


def _draw(facts: Facts, points: Sequence[_Point], colours: dict[str, str]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 5.8))
    axes = figure.add_axes((0.075, 0.107, 0.905, 0.87))
    axes.set_xscale("log")
    measured = facts.measurement is not None
    xs, ys = [point.x for point in points], [value for point in points for value in (point.down, point.up)]
    reach = max(xs) * 1.6
    axes.set_xlim(min(xs) * (min(xs) / reach) ** 0.28, reach)  # room for labels to the left of the fastest
    room = max(max(ys) - min(ys), 0.5)
    axes.set_ylim(min(ys) - 0.22 * room, max(ys) + 0.26 * room)
    dress(axes, colours)
    metric = facts.quality.metric
    axes.set_xlabel(
        f"median latency, {facts.time_words}, ms (log scale; further left is faster)"
        if measured
        else "model and tokenizer, MB (log scale)"
    )
    axes.set_ylabel(f"{metric}, %")
    original = points[0].variant.quality
    if original is not None:
        axes.axhline(
            (original.value - original.difference) * 100, color=colours["quiet"], linewidth=0.8, linestyle=(0, (2, 3)), zorder=1
        )
    edge = _frontier(points)
    axes.step(
        [point.x for point in edge] + [reach],
        [point.y for point in edge] + [edge[-1].y],
        where="post",
        color=colours["grid"],
        linewidth=5,
        zorder=0.5,
        solid_joinstyle="round",
    )
    chain = _chain(points)
    axes.plot(
        [point.x for point in chain], [point.y for point in chain], color=colours["chain"], linewidth=1.4, alpha=0.75, zorder=2
    )
    for point in points:
        colour = colours[point.role]
        axes.errorbar(
            point.x, point.y, xerr=[[max(point.x - point.low, 0)], [max(point.high - point.x, 0)]],
            yerr=[[max(point.y - point.down, 0)], [max(point.up - point.y, 0)]], color=colour, linewidth=1.3, capsize=2.5, zorder=4,
        )  # fmt: skip
        axes.scatter([point.x], [point.y], s=point.area, color=colour, alpha=0.24, linewidths=0, zorder=3)
        axes.scatter([point.x], [point.y], s=point.area, facecolors="none", edgecolors=colour, linewidths=1.2, zorder=3)
        axes.scatter([point.x], [point.y], s=9, color=colour, zorder=5, linewidths=0)
    _label(figure, axes, points, chain, colours)
    return figure


def _label(figure: Figure, axes: Axes, points: Sequence[_Point], chain: Sequence[_Point], colours: dict[str, str]) -> None:
    """Two lines beside each bubble: its name, and its figures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    centres = [_at(axes, point.x, point.y) for point in points]
    written, sizes = [], []
    for point in points:
        name = axes.text(
            0, 0, short(point.variant), fontsize=10.5, fontweight="bold", color=colours["ink"], zorder=7, parse_math=False
        )
        lead = point.variant.lead
        figures = " · ".join(
            filter(
                None,
                [
                    f"{milliseconds(lead.p50)} ms" if lead else "",
                    f"{point.y:.2f}%",
                    f"{megabytes(point.variant.total_mb or 0)} MB",
                ],
            )
        )
        below = axes.text(0, 0, figures, fontsize=9, color=colours["quiet"], zorder=7)
        written.append((name, below))
        sizes.append((max(text.get_window_extent(renderer).width for text in (name, below)) + 4, 27.0))
    frame = axes.get_window_extent(renderer)
    ends = {id(point): centre for point, centre in zip(points, centres, strict=True)}
    lines = [(ends[id(one)], ends[id(other)]) for one, other in pairwise(chain)]
    across = centres[0][1]  # the dotted line of the original's quality
    lines.append(((frame.x0, across), (frame.x1, across)))
    for point in points:  # interval bars must stay legible too
        lines.append((_at(axes, point.low, point.y), _at(axes, point.high, point.y)))
        lines.append((_at(axes, point.x, point.down), _at(axes, point.x, point.up)))
    radii = [(point.area / 3.14159) ** 0.5 for point in points]
    boxes = lay_out_labels(centres, radii, sizes, lines, Box(frame.x0 + 2, frame.y0 + 2, frame.x1 - 2, frame.y1 - 2))
    for (x, y), radius, box, (name, below) in zip(centres, radii, boxes, written, strict=True):
        side, at = _side(x, box)
        for text, height in ((name, box.low + 15.5), (below, box.low + 3.5)):
            text.set_horizontalalignment(side)
            text.set_transform(_in_points(figure))
            text.set_position((at, height))
        near = box.nearest((x, y))
        away = ((near[0] - x) ** 2 + (near[1] - y) ** 2) ** 0.5
        if away > radius + 12:
            share = radius / away
            axes.plot(
                [x + (near[0] - x) * share, near[0]], [y + (near[1] - y) * share, near[1]], transform=_in_points(figure), color=colours["quiet"],
                linewidth=0.7, zorder=6,
            )  # fmt: skip


def _side(x: float, box: Box) -> tuple[Literal["left", "right", "center"], float]:
    """Text is anchored at the edge that faces its point, so that another font's width does not move it into the bubble."""
    if box.left >= x:
        return "left", box.left
    if box.right <= x:
        return "right", box.right
    return "center", (box.left + box.right) / 2


def _at(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Data coordinates in points (1/72 inch)."""
    across, up = axes.transData.transform((x, y))
    return float(across), float(up)


def _in_points(figure: Figure) -> Transform:
    """Coordinates in points from the lower left corner, at any resolution."""
    from matplotlib.transforms import Affine2D

    return Affine2D().scale(1 / 72) + figure.dpi_scale_trans


def _lengths(variant: Variant) -> list[tuple[int, Timing]]:
    return sorted((int(name), found) for name, found in variant.timings.items() if name.isdigit())


def _draw_lengths(timed: Sequence[Variant], colours: dict[str, str]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 3.9))
    axes = figure.add_axes((0.075, 0.15, 0.70, 0.81))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    dress(axes, colours)
    ends = []
    for number, variant in enumerate(timed):
        role = "best" if variant.name == "bundle" else "chain" if variant.name.startswith("after-") else "base"
        at = _lengths(variant)
        xs, ys = [length for length, _ in at], [found.p50 for _, found in at]
        axes.plot(
            xs, ys, color=colours[role], linewidth=2.4 if role == "best" else 1.3, marker="os^Dvx"[number % 6], markersize=4.5
        )
        axes.fill_between(
            xs, [found.low for _, found in at], [found.high for _, found in at], color=colours[role], alpha=0.15, linewidth=0
        )
        ends.append((ys[-1], xs[-1], variant, role))
    ticks = sorted({length for variant in timed for length, _ in _lengths(variant)})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("input length, tokens (log scale)")
    axes.set_ylabel("median latency, ms")
    at_height = -1e9
    for height, x, variant, role in sorted(ends, key=lambda end: end[0]):
        right, up = (float(value) for value in axes.transData.transform((x, height)))
        at_height = max(up, at_height + 14)
        axes.plot(
            [right + 5, right + 20],
            [up, at_height],
            transform=_in_points(figure),
            color=colours[role],
            linewidth=0.8,
            clip_on=False,
        )
        axes.text(
            right + 23, at_height, f"{short(variant)}, {milliseconds(height)} ms", transform=_in_points(figure), va="center", fontsize=9.5,
            color=colours["ink"], fontweight="bold" if role == "best" else "normal", parse_math=False,
        )  # fmt: skip
    return figure


def dress(axes: Axes, colours: dict[str, str]) -> None:
    """Axes in the page's colours, with plain numbers on logarithmic scales."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
        if scale == "log":
            axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 3, 5)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
            axis.set_tick_params(which="minor", length=0)
        axis.label.set_color(colours["quiet"])
    axes.tick_params(colors=colours["quiet"], labelcolor=colours["quiet"], length=3, labelsize=9.5)
    axes.grid(True, which="major", color=colours["grid"], linewidth=0.7)
    for spine in axes.spines.values():
        spine.set_color(colours["grid"])
