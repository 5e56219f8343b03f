"""A table of a report, in no particular format: cells with a main figure, a second line, and a tone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from edgekit.markdown import escape_markdown, plain

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

__all__ = [
    "Cell",
    "Column",
    "Grid",
    "NOTHING",
    "UNMEASURED",
    "Tone",
    "filled",
    "markdown_table",
    "TerminalTable",
]

Tone = Literal["", "strong", "good", "bad", "quiet"]
WIDE = 110
"""Characters from which a terminal shows every column."""
STYLES: dict[Tone, str] = {"": "", "strong": "bold", "good": "green", "bad": "bold red", "quiet": "dim"}


@dataclass(frozen=True)
class Cell:
    """One figure. `detail` is its interval or reason, shown smaller."""

    main: str
    detail: str = ""
    tone: Tone = ""
    share: float | None = None
    """Length of the bar behind the figure, 0 to 1, where the output can draw one."""


NOTHING = Cell("n/a", tone="quiet")
UNMEASURED = Cell("not measured", tone="quiet")


@dataclass(frozen=True)
class Column:
    """A heading. Numbers are set to the right; what is not `narrow` is left out below WIDE characters."""

    title: str
    unit: str = ""
    right: bool = True
    narrow: bool = True


@dataclass(frozen=True)
class Grid:
    """A table: what it is, how to read it, and its rows, each with one cell a column."""

    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    marked: int | None = None
    """The row that matters most."""
    note: str = ""
    """What stands below the table."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: a row of {len(row)} cells under {len(self.columns)} columns")


def filled(grid: Grid) -> Grid:
    """`grid` without the columns in which no row has a figure."""
    kept = [
        number
        for number in range(len(grid.columns))
        if any(row[number] not in (NOTHING, UNMEASURED) for row in grid.rows) or not grid.rows
    ]
    return replace(
        grid,
        columns=tuple(grid.columns[number] for number in kept),
        rows=tuple(tuple(row[number] for number in kept) for row in grid.rows),
    )


@dataclass(frozen=True)
class TerminalTable:
    """A rich renderable of a grid: all columns where there is room, the narrow ones else. Details stand below their figures."""

    grid: Grid

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _rich(self.grid, wide=options.max_width >= WIDE)


def _rich(grid: Grid, *, wide: bool) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=SIMPLE_HEAD,
        title=Text(grid.title, style="bold"),
        title_justify="left",
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
    kept = [number for number, column in enumerate(grid.columns) if wide or column.narrow]
    for number in kept:
        column = grid.columns[number]
        head = Text(column.title)
        if column.unit:
            head.append(f"\n{column.unit}", style="dim")
        table.add_column(head, justify="right" if column.right else "left", overflow="fold", no_wrap=column.right)
    for index, row in enumerate(grid.rows):
        cells = []
        for number in kept:
            cell = row[number]
            text = Text(plain(cell.main), style="bold" if index == grid.marked and not cell.tone else STYLES[cell.tone])
            if cell.detail:
                text.append("\n" + _tight(plain(cell.detail)), style="dim not bold")
            cells.append(text)
        table.add_row(*cells)
    return table


def _tight(text: str) -> str:
    """ "0.36–0.38" and "-1.9..+0.2" where a page says "to": seven columns must fit into 80 characters."""
    if not re.fullmatch(r"[-+]?[\d.,]+[%x]? to [-+]?[\d.,]+[%x]?", text):
        return text
    return text.replace(" to ", ".." if text[:1] in "+-" or " to +" in text else "–")


def markdown_table(grid: Grid) -> str:
    """All columns of `grid` as a Markdown pipe table; a cell's detail stands in brackets after its figure."""
    heads = [" ".join(filter(None, [column.title, f"({column.unit})" if column.unit else ""])) for column in grid.columns]
    lines = [_line(map(escape_markdown, heads)), _line("--:" if column.right else ":--" for column in grid.columns)]
    for index, row in enumerate(grid.rows):
        cells = []
        for cell in row:
            main = escape_markdown(cell.main)
            main = f"**{main}**" if main and (index == grid.marked or cell.tone == "bad") else main
            cells.append(f"{main} ({escape_markdown(cell.detail)})" if cell.detail else main)
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
