"""The page of a study: its front with every trial in grey, what each point is and is worth on test rows, what mattered, what it cost."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.progress import spent
from edgekit.report.grid import NOTHING, Cell, Column, Grid, Tone, filled
from edgekit.report.page import templates
from edgekit.report.plots import dress
from edgekit.report.svg import inline_svg
from edgekit.tuner.front import Bounds
from edgekit.tuner.mattered import FEWEST_RESULTS
from edgekit.tuner.records import NEEDS
from edgekit.tuner.words import budget, count, earlier_points, left_to_others, sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["points_grid", "render_study"]

LEAST_SHARE = 0.02
"""What matters less is not shown."""
MANY_RESULTS = 30
"""Below which what mattered is a hint."""


NARROW = 3.0
"""Times the least that the most may be where an axis is not logarithmic."""
CAME_TO = {"refused": "refused", "untrained": "not trained", "failed": "failed", "stopped": "dropped"}
"""State of a trial that did not come to its end -> what people are told."""
PUT_OFF = "put off"
"""Of one that only time closed: more of it takes the trial up again."""


def render_study(study: Any) -> str:
    """The whole page of what study.json holds. Every text from outside is escaped; the picture is edgekit's own SVG."""
    from markupsafe import Markup

    complete = _different(study)
    pictures = [
        (words, Markup(inline_svg(partial(_draw, study, complete, key, words), f"study {study['name']} {key}")))
        for key, words in (("cost", study["cost"]), ("size_mb", "size, MB"))
        if len(complete) > 1
    ]
    return templates(Path(__file__).parent).get_template("study.html.j2").render(
        title=f"Search: {study['name']}", headline=_headline(study), badges=_badges(study), cautions=_cautions(study), pictures=pictures,
        points=points_grid(study), trials=_trials(study), importances=_importances(study), few=_few(study),
        timed=study["timed"], asked=_asked(study), written=_written(study),
    )  # fmt: skip


def _headline(study: Any) -> str:
    looked_at, front, points = study["looked_at"], len(study["front"]), len(study["points"])
    what = "No recipe was trained or measured yet"
    if looked_at:
        drawn = len(study["trials"])
        among = f"of {drawn} that were drawn, " if drawn != looked_at else ""
        what = f"{sentence(among)[:-1]}{count(looked_at, 'recipe')} {_were(looked_at)} looked at in {spent(study['seconds'])}"
    made = f"{points} {_were(points)} made in full" if points else "none is made in full yet"
    return f"{what}{f': {front} {_are(front)} on the front, and {made}' if front else ''}."


def _written(study: Any) -> str:
    """When, by what and where the page was written."""
    made = study["written"]
    return f"Written {made['at']} by edgekit {made['edgekit']} on {made['cpu']}, {count(made['cores'], 'core')}, for {study['target']}."


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _badges(study: Any) -> list[tuple[str, str]]:
    points = study["points"]
    asked = ("quiet", f"asked for: {', '.join(budget(Bounds(**study['budget']))) or 'the whole front'}")
    if not points:
        none = "no point of this budget was made yet" if study["earlier"] else "no point was made yet"
        return [asked, ("quiet", none)]
    kept = sum(_verdict(study, point).tone == "good" for point in points)
    if not _asked(study):
        judged = ("quiet", "no budget")
    elif kept:
        judged = (
            "good",
            "the one point keeps the budget"
            if len(points) == 1
            else f"{kept} of {len(points)} points {_keep(kept)} the budget",
        )
    else:
        judged = ("bad", "no point keeps the budget")
    return [asked, judged, *([("quiet", "speed was not timed")] if _untimed(study) else [])]


def _keep(number: int) -> str:
    return "keeps" if number == 1 else "keep"


def _asked(study: Any) -> bool:
    """Whether there is a budget."""
    return any(bound is not None for bound in study["budget"].values())


def _untimed(study: Any) -> bool:
    """Whether a speed was asked for that nobody knows."""
    return study["budget"]["faster"] is not None and not study["timed"]


def _verdict(study: Any, point: Any) -> Cell:
    """Whether a point keeps the budget: on validation rows, by which it was chosen, and on test rows."""
    if not _asked(study):
        return NOTHING
    found = point["validation"]
    lost = study["original"]["quality"] - found["quality"]
    over = Bounds(**study["budget"]).over(lost, found.get("times") if study["timed"] else None, found["size_mb"])
    figures = {
        "lose": f"{100 * lost:+.2f} points lost", "faster": f"{found.get('times') or 0:.2f} times fp32", "smaller": f"{found['size_mb']:.2f} MB",
    }  # fmt: skip
    binds = ", ".join(figures[name] for name, share in over.items() if share > 0)
    chosen = [] if point["kept_on_validation"] else [f"on validation rows {binds}"]
    if missed := [*chosen, *point["missed"]]:
        return Cell("missed", "; ".join(missed), "bad")
    return Cell("kept", "but for speed, which was not timed" if _untimed(study) else "", "good")


def _cautions(study: Any) -> list[str]:
    original, looked_at, tested, said = study["original"], study["looked_at"], len(study["tested"]), []
    if not study["over"]:
        others = sentence(left_to_others(study))
        said.append(f"The search is not over. {others if study['waiting'] else 'The same command goes on with it.'}")
    if study["earlier"]:
        said.append(sentence(earlier_points(study["earlier"])))
    best = f": the best of {looked_at} looks better there than it is" if looked_at > 1 else ""
    read = (
        "No test row was read yet." if not tested else
        f"Test rows were read for {count(tested, 'recipe')} in all, {'once' if tested == 1 else 'each once'}, after the search; believe "
        f"{'that figure, and its interval' if tested == 1 else 'those figures, and their intervals'}."
    )  # fmt: skip
    said.append(f"Chosen by {original['rows']:,} validation rows, of which one is {1 / original['rows']:.2%}{best}. {read}")
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


def _draw(study: Any, complete: list[Any], key: str, words: str, colours: dict[str, str]) -> Figure:
    """Quality against cost, or size, as `words` says; trials in grey, the front in blue, points with a number."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5.2, 4.6))
    front = [trial for trial in complete if trial["trial"] in study["front"]]
    named = {point["trial"]: str(number) for number, point in enumerate(study["points"], 1)}
    axes = figure.add_axes((0.14, 0.13, 0.83, 0.83))
    figures = [one[key] for one in complete]
    if max(figures) > NARROW * min(figures):
        axes.set_xscale("log")
    else:  # whose labels would overlap on a logarithmic one
        axes.xaxis.set_major_locator(MaxNLocator(6))
    dress(axes, colours)
    for trials, role, size in ((complete, "base", 26), (front, "chain", 44)):
        axes.scatter(
            [one[key] for one in trials], [100 * one["quality"] for one in trials], s=size, color=colours[role], zorder=3
        )
    for trial in front:
        if (name := named.get(trial["trial"])) is not None:
            at = (trial[key], 100 * trial["quality"])
            axes.scatter([at[0]], [at[1]], s=130, color=colours["best"], zorder=4)
            axes.annotate(name, at, ha="center", va="center", fontsize=9, color=colours["paper"], zorder=5)
    axes.axhline(100 * study["original"]["quality"], color=colours["quiet"], linewidth=0.9, linestyle=":")
    if study["budget"]["lose"] is not None:
        axes.axhline(100 * (study["original"]["quality"] - study["budget"]["lose"]), color=colours["quiet"], linewidth=0.9)
    bound = _bound(study, key)
    if bound is not None:
        axes.axvline(bound, color=colours["quiet"], linewidth=0.9)
    axes.set_xlabel(words)
    axes.set_ylabel(f"{study['metric']} on validation rows, %")
    return figure


def _bound(study: Any, key: str) -> float | None:
    budget = study["budget"]
    if key == "size_mb":
        return budget["smaller"]  # type: ignore[no-any-return]
    return 1 / budget["faster"] if budget["faster"] is not None and study["timed"] else None


def points_grid(study: Any, *, page: bool = True) -> Grid:
    """The points, as they are on test rows; on a `page` with recipes and steps, which a terminal shows below."""
    columns = (
        Column("", right=False), Column("quality", "%, test rows"), Column("lost", "points"), Column("speed", "times fp32"),
        Column("latency", "ms"), Column("size", "MB"), Column("budget", right=False), Column("steps", right=False, narrow=False),
    )  # fmt: skip
    rows = []
    for number, point in enumerate(study["points"], 1):
        test, times, size = point["test"], point["test"].get("times"), point["validation"]["size_mb"]
        lost, low, high = (0.0 - 100 * end for end in (test["difference"], *reversed(test["ci95"])))  # 0 - x: never -0
        rows.append(
            (
                Cell(str(number), point["recipe"] if page else f"trial {point['trial']}"), Cell(f"{100 * test['value']:.2f}", f"{test['n']:,} rows"),
                Cell(f"{lost:+.2f}", f"{low:+.2f} to {high:+.2f}"),
                NOTHING if times is None else Cell(f"{times['value']:.2f}", f"{times['ci95'][0]:.2f} to {times['ci95'][1]:.2f}"),
                Cell(f"{test['ms']:.3f}") if "ms" in test else NOTHING, Cell(f"{size:.2f}"), _verdict(study, point),
                Cell(point["steps"]),
            )
        )  # fmt: skip
    judged = (
        " The budget has to be kept on the validation rows, by which a point was chosen, and on the test rows."
        if _asked(study)
        else ""
    )
    caption = f"What was made in full, as any bundle is, and read on test rows once.{judged}"
    shown = columns if page else columns[:-1]
    return filled(Grid("Points", caption, shown, tuple(row[: len(shown)] for row in rows)))


def _trials(study: Any) -> Grid:
    """Every trial, and what it cost."""
    columns = (
        Column("trial", right=False), Column("quality", "%, validation"), Column("cost", "share of the original's"), Column("size", "MB"),
        Column("time", "s"), Column("came to", right=False), Column("steps", right=False, narrow=False),
    )  # fmt: skip
    rows = []
    for trial in study["trials"]:
        last: Any = trial["rungs"][-1] if trial.get("rungs") else trial.get("foreseen", {})
        complete = trial["state"] == "complete"
        quality, size = trial.get("quality", last.get("quality")), trial.get("size_mb", last.get("size_mb"))
        why = str(trial.get("untrained") or trial.get("stopped") or trial.get("failed") or trial.get("refused") or "")
        tone: Tone = "" if complete else "quiet"
        share, foreseen = last.get("share"), trial.get("foreseen", {}).get("measured")
        look = (
            f"a look at {100 * share:.0f}% of its training"
            if quality is not None and not complete and share is not None
            else ""
        )
        cost = Cell(f"{trial['cost']:.3f}") if complete else NOTHING
        if not complete and foreseen is not None:
            cost = Cell(f"{1 / foreseen['times']:.3f}", "of its shapes, untrained", "quiet")
        again = f"as trial {trial['same_as']}" if "same_as" in trial else ""
        came_to = "its end" if complete else PUT_OFF if NEEDS in trial else CAME_TO[trial["state"]]
        rows.append(
            (
                Cell(str(trial["trial"])), NOTHING if quality is None else Cell(f"{100 * quality:.2f}", look, tone), cost,
                NOTHING if size is None else Cell(f"{size:.2f}", tone=tone),
                Cell(f"{trial.get('seconds', 0):.0f}"),
                Cell(came_to, "; ".join(filter(None, [again, why])), tone),
                Cell(trial["steps"]),
            )
        )  # fmt: skip
    caption = "Every trial, in the order in which they were drawn. Its time is what this study spent on it; what it shares with others was made once."
    return Grid("Trials", caption, columns, tuple(rows))


def _different(study: Any) -> list[Any]:
    """The recipes that came to their end, each once."""
    return [trial for trial in study["trials"] if trial["state"] == "complete" and "same_as" not in trial]


def _few(study: Any) -> str:
    """Why it is not said what mattered."""
    results = len(_different(study))
    if study["importances"]:
        return ""
    if results < FEWEST_RESULTS:
        return f"It is said from {FEWEST_RESULTS} different recipes on that came to their end; so far {results or 'none'} did."
    return f"No value that was drawn sets the {results} recipes apart that came to their end."


def _importances(study: Any) -> Grid | None:
    """What was drawn, by how much of the differences between complete trials it explains."""
    found = study["importances"]
    if not found:
        return None
    results = len(_different(study))
    most = {name: max(shares.get(name, 0) for shares in found.values()) for shares in found.values() for name in shares}
    names = sorted((name for name, share in most.items() if share >= LEAST_SHARE), key=lambda name: -most[name])
    columns = (Column("drawn", right=False), Column("quality", "%"), Column("cost", "%"), Column("size", "%"))
    rows = tuple(
        (
            Cell(name),
            *(
                Cell(f"{100 * found[key].get(name, 0):.0f}") if key in found else NOTHING
                for key in ("quality", "cost", "size_mb")
            ),
        )
        for name in names
    )
    caption = (
        f"Of the differences between the {results} recipes that came to their end, the share that each drawn value explains by itself, less what "
        "chance would (epsilon squared, Kelley 1935); numbers in thirds. What values do together is not told."
        f"{' From so few it is a hint.' if results < MANY_RESULTS else ''} What explains less than {LEAST_SHARE:.0%} of each is left out."
    )
    return Grid("What mattered", caption, columns, rows)
