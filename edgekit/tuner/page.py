"""The page of a study: its front with every trial in grey, what each point is and is worth on test rows, what mattered, what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.progress import spent
from edgekit.report.grid import NOTHING, Cell, Column, Grid, Tone
from edgekit.report.page import templates
from edgekit.report.plots import dress
from edgekit.report.svg import inline_svg
from edgekit.runtime.jsontypes import JsonObject
from edgekit.tuner.front import Bounds
from edgekit.tuner.words import budget

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["points_grid", "render_study"]

LEAST_SHARE = 0.02
"""What matters less is not shown."""


def render_study(study: Any) -> str:
    """The whole page of what study.json holds. Every text from outside is escaped; the picture is edgekit's own SVG."""
    from markupsafe import Markup

    complete = [trial for trial in study["trials"] if trial["state"] == "complete"]
    picture = inline_svg(lambda colours: _draw(study, complete, colours), f"study {study['name']}") if len(complete) > 1 else ""
    return templates(Path(__file__).parent).get_template("study.html.j2").render(
        title=f"Search: {study['name']}", headline=_headline(study), badges=_badges(study), cautions=_cautions(study), picture=Markup(picture),
        points=points_grid(study), trials=_trials(study), importances=_importances(study), timed=study["timed"],
    )  # fmt: skip


def _headline(study: Any) -> str:
    asked = budget(Bounds(**study["budget"]))
    return (
        f"{study['looked_at']} recipes were looked at in {spent(study['seconds'])}, to {', '.join(asked) or 'find the whole front'}; "
        f"{len(study['front'])} are on the front, and {len(study['points'])} were made in full."
    )


def _badges(study: Any) -> list[tuple[str, str]]:
    kept = sum(point["in_budget"] and not point["missed"] for point in study["points"])
    if not study["points"]:
        return [("quiet", "no point was made yet")]
    return [
        ("good", f"{kept} of {len(study['points'])} points keep the budget") if kept else ("bad", "no point keeps the budget"),
        *([("quiet", "speed was not timed")] if study["budget"]["faster"] is not None and not study["timed"] else []),
    ]


def _cautions(study: Any) -> list[str]:
    original, said = study["original"], []
    said.append(
        f"Chosen by {original['rows']:,} validation rows, of which one is {1 / original['rows']:.2%}: the best of "
        f"{study['looked_at']} looks better there than it is. Test rows were read for {len(study['tested'])} recipes in all, each once, "
        "after the search; believe those figures, and their intervals."
    )
    if not study["timed"]:
        said.append(
            f"This machine is not {study['target']}: nothing was timed, and cost is the share of the original's multiplications."
            + (" Whether a point is as fast as was asked for is not known." if study["budget"]["faster"] is not None else "")
        )
    if study["device"] is not None:
        said.append(
            f"Timed on {study['device']} over ssh, the original once and each model by itself, so that intervals of speed span those of both."
        )
    return said + list(study["nearest"])


def _draw(study: Any, complete: list[Any], colours: dict[str, str]) -> Figure:
    """Quality against cost and against size; trials in grey, the front joined, points with a name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 4.6))
    front = [trial for trial in complete if trial["number"] in study["front"]]
    named = {point["trial"]: str(number) for number, point in enumerate(study["points"], 1)}
    for number, (key, words) in enumerate((("cost", study["cost"]), ("size_mb", "size, MB"))):
        axes = figure.add_axes((0.07 + 0.49 * number, 0.13, 0.42, 0.83))
        axes.set_xscale("log")
        dress(axes, colours)
        for trials, role, size in ((complete, "base", 26), (front, "chain", 44)):
            axes.scatter(
                [one[key] for one in trials], [100 * one["quality"] for one in trials], s=size, color=colours[role], zorder=3
            )
        for trial in front:
            if (name := named.get(trial["number"])) is not None:
                axes.scatter([trial[key]], [100 * trial["quality"]], s=130, color=colours["best"], zorder=4)
                axes.annotate(
                    name,
                    (trial[key], 100 * trial["quality"]),
                    ha="center",
                    va="center",
                    fontsize=9,
                    color=colours["paper"],
                    zorder=5,
                )
        axes.axhline(100 * study["original"]["quality"], color=colours["quiet"], linewidth=0.9, linestyle=":")
        if study["budget"]["lose"] is not None:
            axes.axhline(100 * (study["original"]["quality"] - study["budget"]["lose"]), color=colours["quiet"], linewidth=0.9)
        bound = _bound(study, key)
        if bound is not None:
            axes.axvline(bound, color=colours["quiet"], linewidth=0.9)
        axes.set_xlabel(words)
        if number == 0:
            axes.set_ylabel(f"{study['metric']} on validation rows, %")
    return figure


def _bound(study: Any, key: str) -> float | None:
    budget = study["budget"]
    if key == "size_mb":
        return budget["smaller"]  # type: ignore[no-any-return]
    return 1 / budget["faster"] if budget["faster"] is not None and study["timed"] else None


def points_grid(study: Any) -> Grid:
    """The points, as they are on test rows."""
    columns = (
        Column("", right=False), Column("quality", "%, test rows"), Column("lost", "points"), Column("speed", "times fp32"),
        Column("latency", "ms"), Column("size", "MB"), Column("budget", right=False), Column("steps", right=False, narrow=False),
    )  # fmt: skip
    rows = []
    for number, point in enumerate(study["points"], 1):
        test, times = point["test"], point["test"].get("times")
        lost, low, high = (0.0 - 100 * end for end in (test["difference"], *reversed(test["ci95"])))  # 0 - x: never -0
        unknown = "but for speed, which was not timed" if study["budget"]["faster"] is not None and not study["timed"] else ""
        verdict = Cell("missed", "; ".join(point["missed"]), "bad") if point["missed"] else Cell("kept", unknown, "good")
        rows.append(
            (
                Cell(str(number), point["recipe"]), Cell(f"{100 * test['value']:.2f}", f"{test['n']:,} rows"),
                Cell(f"{lost:+.2f}", f"{low:+.2f} to {high:+.2f}"),
                NOTHING if times is None else Cell(f"{times['value']:.2f}", f"{times['ci95'][0]:.2f} to {times['ci95'][1]:.2f}"),
                Cell(f"{test['ms']:.3f}") if "ms" in test else NOTHING, Cell(f"{point['validation']['size_mb']:.2f}"), verdict, Cell(point["steps"]),
            )
        )  # fmt: skip
    return Grid(
        "Points",
        "The points of the front that were made in full, as any bundle is, read on test rows once.",
        columns,
        tuple(rows),
    )


def _trials(study: Any) -> Grid:
    """Every trial, and what it cost."""
    columns = (
        Column("trial", right=False), Column("quality", "%, validation"), Column("cost", "share of the original's"), Column("size", "MB"),
        Column("time", "s"), Column("came to", right=False), Column("steps", right=False, narrow=False),
    )  # fmt: skip
    rows, ordinals = [], {trial["number"]: trial["ordinal"] for trial in study["trials"]}
    for trial in study["trials"]:
        last: JsonObject = trial["rungs"][-1] if trial.get("rungs") else trial.get("foreseen", {})
        complete = trial["state"] == "complete"
        quality, size = trial.get("quality", last.get("quality")), trial.get("size_mb", last.get("size_mb"))
        why = str(trial.get("untrained") or trial.get("stopped") or trial.get("failed") or trial.get("refused") or "")
        tone: Tone = "" if complete else "quiet"
        again = f"as trial {ordinals[trial['same_as']]}" if "same_as" in trial else ""
        rows.append(
            (
                Cell(str(trial["ordinal"])), NOTHING if quality is None else Cell(f"{100 * quality:.2f}", tone=tone),
                Cell(f"{trial['cost']:.3f}") if complete else NOTHING, NOTHING if size is None else Cell(f"{size:.2f}", tone=tone),
                Cell(f"{trial.get('seconds', 0):.0f}"),
                Cell("its end" if complete else trial["state"], "; ".join(filter(None, [again, why])), tone),
                Cell(trial["steps"]),
            )
        )  # fmt: skip
    caption = "Every trial in the order of drawing. Seconds are what this study spent on it; what it shares with others was made once."
    return Grid("Trials", caption, columns, tuple(rows))


def _importances(study: Any) -> Grid | None:
    """What was drawn, by how much of the differences between complete trials it explains."""
    found = study["importances"]
    if not found:
        return None
    most = {name: max(shares.get(name, 0) for shares in found.values()) for shares in found.values() for name in shares}
    names = sorted((name for name, share in most.items() if share >= LEAST_SHARE), key=lambda name: -most[name])
    columns = (Column("drawn", right=False), Column("quality", "%"), Column("cost", "%"), Column("size", "%"))
    rows = tuple(
        (
            Cell(name),
            *(
                Cell(f"{100 * found[key].get(name, 0):.0f}", share=found[key].get(name, 0))
                for key in ("quality", "cost", "size_mb")
            ),
        )
        for name in names
    )
    caption = "PED-ANOVA (Watanabe et al. 2023) over complete trials: how far the better ones differ from all. Less than 2% is left out."
    return Grid("What mattered", caption, columns, rows)
