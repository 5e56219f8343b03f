"""The report as Markdown: the same tables, for a pull request or a README."""

from __future__ import annotations

from edgekit.markdown import escape_markdown, plain
from edgekit.report.chain import stages_grid, times_grid
from edgekit.report.commands import AGAIN, commands
from edgekit.report.details import agreement, environment, limits, protocol, steps
from edgekit.report.facts import Facts
from edgekit.report.format import span
from edgekit.report.grid import Grid, markdown_table
from edgekit.report.headline import headline
from edgekit.report.language import guesses_grid, language_grid
from edgekit.report.tables import audit_grid, budgets_grid, lengths_grid, start_grid, variants_grid
from edgekit.report.verdicts import cautions

__all__ = ["render_markdown"]


def render_markdown(facts: Facts) -> str:
    """The whole report as Markdown text. Names from outside are escaped."""
    parts = [f"# {escape_markdown(span(facts))}", f"**{escape_markdown(headline(facts))}**"]
    parts += [
        f"> **{escape_markdown(item.text)}**" if item.grave else f"> {escape_markdown(item.text)}" for item in cautions(facts)
    ]
    grids = (
        variants_grid,
        budgets_grid,
        stages_grid,
        times_grid,
        lengths_grid,
        language_grid,
        guesses_grid,
        start_grid,
        audit_grid,
    )
    for grid in (build(facts) for build in grids):
        if grid is not None:
            parts += _section(grid)
    parts += ["## Agreement with the model's own library", escape_markdown(agreement(facts))]
    parts += _pairs("Recipe", steps(facts)) + _pairs("Protocol", protocol(facts)) + _pairs("Machine", environment(facts))
    parts += [
        "## Do it again",
        AGAIN,
        "\n".join(["```", *(plain(line).replace("```", "'''") for line in commands(facts)), "```"]),
    ]
    parts += ["## What this does not show", "\n".join(f"- {escape_markdown(line)}" for line in limits(facts))]
    return "\n\n".join(parts) + "\n"


def _section(grid: Grid) -> list[str]:
    texts = [
        f"## {escape_markdown(grid.title)}",
        markdown_table(grid),
        escape_markdown(grid.caption),
        escape_markdown(grid.note),
    ]
    return [text for text in texts if text]


def _pairs(title: str, pairs: list[tuple[str, str]]) -> list[str]:
    lines = [
        f"- {escape_markdown(what)}: {escape_markdown(value)}" if value else f"- {escape_markdown(what)}"
        for what, value in pairs
    ]
    return [f"## {title}", "\n".join(lines)] if pairs else []
