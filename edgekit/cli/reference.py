"""The references of the documentation, in Markdown: made from the settings' types, the tasks and the commands, so that what is added is in them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.cli.catalogue import catalogue, json_schema
from edgekit.compress.registry import methods
from edgekit.config.shipped import shipped_file
from edgekit.config.target import load_target
from edgekit.draft.proven import PROVEN
from edgekit.tasks import find_task, task_names

if TYPE_CHECKING:
    from typer import Context

__all__ = ["GENERATED", "filled"]

Schema: TypeAlias = Mapping[str, Any]
"""A part of a JSON Schema as pydantic makes it."""


def filled(text: str, context: Context) -> str:
    """A page with each line `<!-- generated: NAME -->` replaced by what it stands for, together with the paragraph below it that begins with
    "*In a checkout" and says so to readers of the file; `context`: of edgekit's own command."""
    return MARK.sub(lambda mark: GENERATED[mark[1]](context), text)


def _schema_reference(kind: str) -> str:
    """Every table that a recipe or a target may have, with its settings."""
    schema: Schema = json_schema(kind)
    beside: dict[str, Schema] = {}
    lines = [*_tables(schema, schema["$defs"], (), "The file itself", beside)]
    for name, node in beside.items():
        lines += _tables(node, schema["$defs"], (name,), _beside_title(name), {})
    return "\n".join(lines)


def _tables(
    node: Schema, defs: Mapping[str, Schema], path: tuple[str, ...], title: str, beside: dict[str, Schema]
) -> Iterator[str]:
    """The section of one table, then those of the tables inside it. What a setting may be beside a plain value is added to `beside`."""
    yield from (f"## {title}", "")
    if path:  # the record of the whole file says what the page says
        yield from (_line(node.get("description", "")), "")
    inner = {name: _inner(found, defs) for name, found in node["properties"].items()}
    settings = {name: found for name, found in node["properties"].items() if not inner[name]}
    if settings:
        yield from ("| setting | may be | without it | means |", "|---|---|---|---|")
        needed = node.get("required", [])
        for name, found in sorted(settings.items(), key=lambda item: (item[0] not in needed, item[0])):
            without = "**needed**" if name in needed else _default(found)
            values = _values(found, defs, beside)
            yield f"| `{name}` | {_cell(values)} | {_cell(without)} | {_cell(_line(found.get('description', '')))} |"
        yield ""
    for name, tables in inner.items():
        several = node["properties"][name].get("type") == "array"
        for one in tables:
            key = ".".join((*path, name))
            alone = len(tables) == 1
            yield from _tables(one, defs, (*path, name), _title(key, one, several=several, alone=alone), beside)


def _title(key: str, node: Schema, *, several: bool, alone: bool) -> str:
    """`[model.new]`, or where a table has kinds the words that choose this one."""
    table = f"`[[{key}]]`" if several else f"`[{key}]`"
    if alone:
        return table
    word = next(name for name, found in node["properties"].items() if name in ("method", "format") and _chosen(found))
    return f"{table} {word} = " + " or ".join(f'`"{value}"`' for value in _chosen(node["properties"][word]))


def _chosen(node: Schema) -> list[Any]:
    """The words that a setting is one of."""
    return [node["const"]] if "const" in node else list(node.get("enum", ()))


def _beside_title(name: str) -> str:
    return f"A table in place of a text: `{name}`"


def _inner(node: Schema, defs: Mapping[str, Schema]) -> list[Schema]:
    """The tables that a setting is one of; none where it may be a plain value."""
    if "$ref" in node:
        found = defs[node["$ref"].rpartition("/")[2]]
        return [found] if "properties" in found else []
    options = [option for option in (*node.get("anyOf", ()), *node.get("oneOf", ())) if option.get("type") != "null"]
    if node.get("type") == "array":
        options.append(node.get("items", {}))
    each = [_inner(option, defs) for option in options]
    return [table for tables in each for table in tables] if all(each) else []


def _values(node: Schema, defs: Mapping[str, Schema], beside: dict[str, Schema]) -> str:
    """What a setting may be, in words."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if "properties" not in defs[name]:
            return _values(defs[name], defs, beside)
        beside[name] = defs[name]
        return f"a [table](#a-table-in-place-of-a-text-{name.lower()})"
    if _chosen(node):
        return ", ".join(f"`{json.dumps(value)}`" for value in _chosen(node))
    if "anyOf" in node:
        return " or ".join(_values(option, defs, beside) for option in node["anyOf"] if option.get("type") != "null")
    kind = node.get("type")
    if kind == "array":
        return f"list of {_values(node['items'], defs, beside)}" if "items" in node else "list"
    if kind == "object":
        return f"table of {_values(node['additionalProperties'], defs, beside)}"
    bounds = [
        f"{word} {node[key]:,}"
        for key, word in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"), ("exclusiveMaximum", "below"))
        if key in node
    ]
    word = {"string": "text", "integer": "integer", "number": "number", "boolean": "`true`, `false`"}[str(kind)]
    return " ".join([word, *bounds])


def _default(node: Schema) -> str:
    """What holds where a setting is left out."""
    value = node.get("default")
    return "" if value in (None, {}, [], ()) else f"`{json.dumps(value)}`"


def _line(text: str) -> str:
    """A description on one line; a word in angle brackets is no HTML, but in code, where it is read as it stands."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def method_table() -> str:
    """What each compression method does, and for which models."""
    rows = [
        f"| [`{name}`](reference/recipe.md#compress-method--{name}) | {' and '.join(f'{kind}s' for kind in method.serves)} "
        f"| {_cell(_line(method.title))} |"
        for name, method in methods().items()
    ]
    return "\n".join(["| method | of | what it does |", "|---|---|---|", *rows])


def proven_table() -> str:
    """What each way that a budget chooses among did where it was measured."""
    sets = sorted({name for proven in PROVEN for name in proven.figures})
    rows = [
        f"| {proven.name} | "
        + " | ".join(f"{one.times:.1f}x, {-one.lost:+.1f}, {one.size:.0%}" for one in (proven.figures[name] for name in sets))
        + " |"
        for proven in PROVEN
    ]
    head = ["| what is done |", *(f" `{name}` |" for name in sets)]
    return "\n".join(["".join(head), "|---|" + "---|" * len(sets), *rows])


def task_table() -> str:
    """What each task is, the columns of its rows and how it is scored."""
    rows = [
        f"| `{task.name}` | {_cell(_line(task.title))} | {', '.join(f'`{column}`' for column in task.columns)} | {_cell(task.metric)} |"
        for task in map(find_task, task_names())
    ]
    return "\n".join(["| task | what it is | columns of its rows | quality |", "|---|---|---|---|", *rows])


def target_table() -> str:
    """The shipped targets, by what they are for."""
    rows = []
    for row in catalogue("targets"):
        target = load_target(row["name"])
        each = ", ".join(f"`{flag}`" for flag in target.isa)
        needs = ", ".join(filter(None, (each, " or ".join(f"`{flag}`" for flag in target.isa_any)))) or "any"
        rows.append(f"| `{row['name']}` | {_cell(row['title'])} | {target.arch} | {needs} | `{target.quantize.format}` |")
    return "\n".join(["| target | for | architecture | instruction sets | number format |", "|---|---|---|---|---|", *rows])


def recipe_files() -> str:
    """The shipped recipes as they stand."""
    return "\n".join(
        f"## `{row['name']}`\n\n{row['title']}\n\n```toml\n{shipped_file('recipes', row['name']).read_text(encoding='utf-8')}```\n"
        for row in catalogue("recipes")
    )


def command_reference(context: Context) -> str:
    """The command of `context` and each below it, with arguments and options."""
    from typer.cli import get_docs_for_click

    text: str = get_docs_for_click(obj=context.command, ctx=context, name="edgekit")
    return text.partition("\n")[2].replace("```console\n", "```text\n")


GENERATED: dict[str, Callable[[Context], str]] = {
    "recipe": lambda _: _schema_reference("recipe"),
    "target": lambda _: _schema_reference("target"),
    "methods": lambda _: method_table(),
    "proven": lambda _: proven_table(),
    "tasks": lambda _: task_table(),
    "targets": lambda _: target_table(),
    "recipes": lambda _: recipe_files(),
    "commands": command_reference,
}
"""What a page can have made: each line `<!-- generated: NAME -->`."""
MARK = re.compile(rf"<!-- generated: ({'|'.join(GENERATED)}) -->(?:\n\n\*In a checkout[^\n]*)?")
