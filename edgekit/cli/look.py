"""Commands that look: ls, doctor, schema."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from edgekit.cli.output import Json, emit

__all__ = ["doctor", "list_names", "schema"]


def list_names(
    what: Annotated[str, typer.Argument(help="targets, recipes, tasks or methods.")] = "recipes",
    as_json: Json = False,
) -> None:
    """List what ships with edgekit."""
    from edgekit.cli.catalogue import catalogue

    rows = catalogue(what)
    width = max((len(row["name"]) for row in rows), default=0)
    emit(rows, as_json, [f"{row['name']:<{width}}  {row['title']}" for row in rows])


def doctor(as_json: Json = False) -> None:
    """What this machine is, and which targets it can run and measure."""
    from edgekit.cli.catalogue import examine

    document, shown = examine()
    emit(document, as_json, shown)


def schema(what: Annotated[str, typer.Argument(help="recipe or target.")]) -> None:
    """Print the JSON Schema of a recipe or a target, for editors."""
    from edgekit.cli.catalogue import json_schema

    print(json.dumps(json_schema(what), indent=1, sort_keys=True))
