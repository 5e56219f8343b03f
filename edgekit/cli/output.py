"""How the results of all commands are printed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgekit.runtime.errors import Topic
from edgekit.runtime.shown import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["emit", "emit_page", "explained", "pairs"]

ENDLESS = 10_000
"""Characters of a line where standard output is no terminal: programs read whole lines."""


def emit(document: object, as_json: bool, shown: Iterable[RenderableType]) -> None:
    """Print `document`, which JSON can hold, or what is `shown` to people, on standard output.

    What a terminal would obey in texts and labels is visible there; JSON is exact.
    """
    if as_json:
        print(json.dumps(document, indent=1, sort_keys=True, default=str))
        return
    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = ENDLESS
    for part in shown:
        if isinstance(part, str):
            out.print(visible(part), soft_wrap=True, markup=False)
            continue
        if isinstance(part, Table):  # all alike, and without lines, which a program would have to take off again
            part.box, part.pad_edge, part.padding = None, False, (0, 2, 0, 0)
        with out.capture() as printed:
            out.print(part)
        print("\n".join(line.rstrip() for line in printed.get().splitlines()))


def pairs(rows: Iterable[tuple[str, str]]) -> RenderableType:
    """Names with what they are, in two columns: the second one goes on below itself where a terminal is narrow."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, what in rows:
        table.add_row(*(Text(visible(cell)) for cell in (name, what)))
    return table


def emit_page(markdown: str, as_json: bool) -> None:
    """Print a page of the documentation: set for a terminal, as it is for a program."""
    from rich.console import Console
    from rich.markdown import Markdown

    out = Console(highlight=False)
    if as_json or not out.is_terminal:
        print(json.dumps(markdown) if as_json else markdown)
        return
    out.width = min(out.width, 100)
    out.print(Markdown(markdown, hyperlinks=False))


def explained(topic: Topic) -> str:
    """The command that shows what the documentation says of a kind of fault."""
    return f"edgekit docs faq#{topic}"
