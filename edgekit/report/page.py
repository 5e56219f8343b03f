"""The report as one HTML file: its style, its pictures and its figures in it, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.report.chain import stages_grid, times_grid
from edgekit.report.commands import AGAIN, commands
from edgekit.report.details import agreement, environment, limits, protocol, steps
from edgekit.report.facts import Facts
from edgekit.report.format import span
from edgekit.report.headline import clauses, headline, tiles
from edgekit.report.language import guesses_grid, language_grid
from edgekit.report.plots import describe, lengths_svg, picture_svg
from edgekit.report.tables import audit_grid, budgets_grid, lengths_grid, start_grid, variants_grid
from edgekit.report.verdicts import budgets, cautions
from edgekit.runtime.shown import visible

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render_index", "render_page", "templates"]


def render_page(facts: Facts) -> str:
    """The whole page. Every text from outside is escaped; the pictures are edgekit's own SVG."""
    from markupsafe import Markup

    return templates().get_template("page.html.j2").render(
        facts=facts,
        title=span(facts),
        headline=headline(facts),
            clauses=clauses(facts),
        cautions=cautions(facts),
        tiles=tiles(facts),
        badges=_badges(facts),
        picture=Markup(picture_svg(facts)),  # matplotlib escapes the labels
        picture_words=describe(facts),
        lengths_picture=Markup("" if facts.is_decoder else lengths_svg(facts)),
        variants=variants_grid(facts),
        stages=stages_grid(facts),
        times=times_grid(facts),
        lengths=lengths_grid(facts),
        language=language_grid(facts),
        guesses=guesses_grid(facts),
        start=start_grid(facts),
        audit=audit_grid(facts),
        agreement=agreement(facts),
        budgets=budgets_grid(facts),
        steps=steps(facts),
        protocol=protocol(facts),
        environment=environment(facts),
        again=AGAIN,
        commands=commands(facts),
        limits=limits(facts),
    )  # fmt: skip


def render_index(results: Sequence[tuple[Facts, str]]) -> str:
    """A page that lists results, each as (facts, link to its page)."""
    entries = [
        {"title": span(facts), "link": link, "headline": headline(facts), "badges": _badges(facts), "tiles": tiles(facts)}
        for facts, link in results
    ]
    return templates().get_template("index.html.j2").render(title="edgekit results", entries=entries)


def _badges(facts: Facts) -> list[tuple[str, str]]:
    """(tone, words) of each verdict, for the top of a page."""
    found = []
    judged = [budget.met for budget in budgets(facts)]
    if judged:
        missed, skipped = judged.count(False), judged.count(None)
        words = f"budget: {judged.count(True)} of {len(judged)} met" + (f", {skipped} not judged" if skipped else "")
        found.append(("bad" if missed else "quiet" if skipped else "good", words))
    found.append(("good", "audit holds") if facts.audit.ok else ("bad", "audit does not hold"))
    measured = facts.measurement
    if measured is None:
        found.append(("quiet", "not measured here"))
    elif measured.throttled:
        found.append(("bad", "throttled"))
    elif not measured.stable:
        found.append(("bad", "unstable"))
    else:
        found.append(("good", "stable"))
    if measured is not None and measured.quick:
        found.append(("quiet", "quick look"))
    return found


@cache
def templates(*folders: Path) -> Environment:
    """The pages' templates, and those in `folders`, which may use them: their style, their tables."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
