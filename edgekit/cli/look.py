"""Commands that look: ls, doctor, schema, docs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from edgekit.cli import complete
from edgekit.cli.output import emit, emit_page, pairs
from edgekit.cli.parameters import Json

__all__ = ["docs", "doctor", "list_names", "schema"]


def list_names(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="targets, recipes, tasks or methods.", autocompletion=complete.catalogues)
    ] = "recipes",
    as_json: Json = False,
) -> None:
    """List what ships with edgekit."""
    from edgekit.cli.catalogue import catalogue

    rows = catalogue(what)
    emit(rows, as_json, [pairs((row["name"], row["title"]) for row in rows)])


def doctor(as_json: Json = False) -> None:
    """What this machine is, and which targets it can run and measure."""
    from edgekit.cli.catalogue import examine

    document, shown = examine()
    emit(document, as_json, shown)


def schema(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="recipe or target.", autocompletion=complete.schemas)],
) -> None:
    """Print the JSON Schema of a recipe or a target, for editors."""
    from edgekit.cli.catalogue import json_schema

    print(json.dumps(json_schema(what), indent=1, sort_keys=True))


def docs(
    context: typer.Context,
    page: Annotated[
        str | None,
        typer.Argument(
            metavar="PAGE",
            help="A page, or PAGE#SECTION such as faq#no-bundle-here; none: the pages there are.",
            autocompletion=complete.pages,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read the documentation of this very release here, without a network."""
    from edgekit.cli.pages import page_names, page_text, page_title

    if page is not None:
        emit_page(page_text(page, typer.Context(context.find_root().command, info_name="edgekit")), as_json)
        return
    titles = {name: page_title(name) for name in page_names()}
    emit(titles, as_json, [pairs(titles.items())])
