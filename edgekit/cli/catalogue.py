"""What there is: shipped targets and recipes, tasks and methods, their schemas, and this machine's fitness."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict

from pydantic import BaseModel
from rich.table import Table

from edgekit.cli.output import pairs
from edgekit.compress.registry import methods
from edgekit.config.recipe import recipe_names
from edgekit.config.target import Target, best_target, load_target, target_names
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.plan.recipes import load_recipe, recipe_model
from edgekit.runtime.jsontypes import JsonObject
from edgekit.tasks import find_task, task_names

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["KINDS", "SCHEMAS", "catalogue", "examine", "json_schema"]

KINDS = ("targets", "recipes", "tasks", "methods")
"""What is listed."""
SCHEMAS: dict[str, Callable[[], type[BaseModel]]] = {"recipe": recipe_model, "target": lambda: Target}
"""What has a JSON Schema, with the type that parses it."""


class Fit(TypedDict):
    """How a target fits this machine."""

    name: str
    runs: bool
    measured: bool
    state: str
    lacks: list[str]


class Examination(TypedDict):
    """This machine, and how each target fits it."""

    host: JsonObject
    targets: list[Fit]
    best: str


def catalogue(what: str) -> list[dict[str, str]]:
    """Name and title of every shipped target, recipe, task or method.

    Raises:
        BadInput: `what` is none of these.
    """
    if what == "targets":
        return [{"name": name, "title": load_target(name).title} for name in target_names()]
    if what == "recipes":
        return [{"name": name, "title": _recipe_title(name)} for name in recipe_names()]
    if what == "tasks":
        return [{"name": name, "title": find_task(name).title} for name in task_names()]
    if what == "methods":
        return [{"name": name, "title": method.title} for name, method in methods().items()]
    raise BadInput(f"cannot list {what!r}", fix=f"one of: {', '.join(KINDS)}")


def _recipe_title(name: str) -> str:
    _, _, recipe = load_recipe(name)
    steps = " > ".join(step.method for step in recipe.compress) or "no compression"
    return f"{recipe.task}: {steps}"


def json_schema(what: str) -> JsonObject:
    """JSON Schema of a recipe or a target.

    Raises:
        BadInput: `what` is neither.
    """
    if what not in SCHEMAS:
        raise BadInput(f"no schema of {what!r}", fix=f"one of: {', '.join(SCHEMAS)}")
    schema: JsonObject = SCHEMAS[what]().model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def examine() -> tuple[Examination, list[RenderableType]]:
    """(document, rich parts) on this machine and how each target fits it."""
    host = detect()
    best = best_target(host).name
    rows: list[Fit] = []
    for name in target_names():
        target = load_target(name)
        lacks = target.lacks(host)
        state = (
            "can be exported only"
            if lacks
            else ("can be measured" if target.matches(host) else "runs, but emulated: no timing")
        )
        rows.append({"name": name, "runs": not lacks, "measured": target.matches(host), "state": state, "lacks": lacks})
    table = Table(title="Targets on this machine", title_justify="left")
    for column in ("target", "here", "lacks"):
        table.add_column(column, overflow="fold")
    for row in rows:
        mark = f"{row['name']} (best)" if row["name"] == best else row["name"]
        table.add_row(mark, row["state"], "; ".join(row["lacks"]))
    facts = host.document()
    shown = pairs((name, _short(value)) for name, value in facts.items())
    return {"host": facts, "targets": rows, "best": best}, [shown, "", table]


def _short(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
