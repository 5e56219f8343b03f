"""Commands that make results: export, plan, artifacts, report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli import complete
from edgekit.cli.drafting import (
    Answers,
    Columns,
    DataFile,
    Faster,
    Group,
    Labels,
    Lose,
    MaxLength,
    ModelSource,
    Name,
    NumberFormat,
    Options,
    Smaller,
    SplitColumn,
    TaskName,
    asked_of,
    check_place,
    drafted,
    recipe_name,
    shown,
    unwritten,
    write_recipe,
)
from edgekit.cli.output import emit, explained
from edgekit.cli.parameters import BUILD, Build, Json, RecipeName, Store, Targets
from edgekit.errors import BadInput
from edgekit.pack.layouts import layout_names
from edgekit.runtime.outputs import check_output_folder

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgekit.pipeline.explain import Explanation
    from edgekit.pipeline.run import Result

__all__ = ["artifacts", "export", "plan", "report"]


def export(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="Recipe name (`edgekit ls recipes`) or .toml file; by default intents.",
            autocompletion=complete.recipes,
        ),
    ] = None,
    target: Targets = None,
    build: Build = BUILD,
    model: ModelSource = None,
    data: DataFile = None,
    task: TaskName = None,
    column: Columns = None,
    label: Labels = None,
    answers: Answers = None,
    group: Group = None,
    split: SplitColumn = None,
    max_length: MaxLength = None,
    faster: Faster = None,
    smaller: Smaller = None,
    lose: Lose = None,
    number_format: NumberFormat = None,
    name: Name = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the recipe and the plan; nothing is run or written.")
    ] = False,
    bench: Annotated[bool, typer.Option("--bench/--no-bench", help="Measure the bundle where this host is its target.")] = True,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Make the bundle: compress, export, quantize, audit, score, measure, pack, report. Of a recipe, or of a model, with one file of rows or none."""
    from edgekit.pipeline.run import run_recipe
    from edgekit.progress import Show
    from edgekit.shared_store import open_shared

    options = Options(task, column, label, answers, group, max_length, faster, smaller, lose, number_format, split)
    chosen = recipe or "intents"
    if model is not None or data is not None:
        chosen = _drafted(recipe, model, data, options, name, target, build, dry_run=dry_run, as_json=as_json)
        if dry_run:
            return None
    elif options.any or name is not None:
        said = [*options.any, *(["--name"] if name is not None else [])]
        raise BadInput(f"{', '.join(said)} go{'es' * (len(said) == 1)} with --model", fix="or write it into the recipe")
    elif dry_run:
        return plan(chosen, target, build, as_json)
    shared, show = None if store is None else open_shared(store), Show(silent=as_json)
    if shared is not None and shared.begun:
        show.line(f"  nothing lay at {shared.address}: a new store is begun there")
    results = run_recipe(chosen, target or [], build, measure=bench, show=show, shared=shared)
    emit([result.document() for result in results], as_json, _results(results))
    if any(result.missed for result in results):
        raise typer.Exit(1)
    return None


def _drafted(
    recipe: str | None,
    model: str | None,
    data: str | None,
    options: Options,
    name: str | None,
    target: list[str] | None,
    build: Path,
    *,
    dry_run: bool,
    as_json: bool,
) -> str:
    """The recipe that model and rows ask for, written beside the results to come, or only shown with its plan."""
    if recipe is not None or model is None:
        raise BadInput(
            "give either a recipe, or --model, and --data where there are rows",
            fix="edgekit export --model FOLDER --data FILE" if recipe is None else f"edgekit export {recipe}",
        )
    asked = asked_of(model, data, options)
    name = recipe_name(asked, name)
    if dry_run:
        from edgekit.pipeline.explain import explain

        with unwritten(asked, name, ask=not as_json) as (made, path):
            check_place(made, build / f"{name}.toml", "--name NAME")
            explanation = explain(str(path), target or [], build, as_if=build / f"{name}.toml")
        document = {"recipe": made.text, "seen": [vars(one) for one in made.seen], "plan": explanation}
        emit(document, as_json, [*shown(made), "", *made.text.splitlines(), "", *_outline(explanation)])
        return ""
    check_output_folder(build, "--build")
    path = build / f"{name}.toml"
    made = drafted(asked, path.parent, ask=not as_json)
    write_recipe(made, path, "--name NAME")
    if not as_json:
        emit(None, False, [*shown(made), f"the recipe: {path}"])
    return str(path)


def plan(recipe: RecipeName = "intents", target: Targets = None, build: Build = BUILD, as_json: Json = False) -> None:
    """Show the stages, their keys, what is done already, and where each setting comes from. Runs nothing."""
    from edgekit.pipeline.explain import explain

    explanation = explain(recipe, target or [], build)
    emit(explanation, as_json, _explained(explanation))


def artifacts(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT", help="Result folders that `edgekit export` made, such as build/intents-x86-vnni."),
    ],
    oci: Annotated[bool, typer.Option("--oci", help="Add an OCI image layout, for a registry client to push.")] = False,
    wheelhouse: Annotated[
        str | None,
        typer.Option(metavar="PYTHON", help="Add the wheels a device without a network needs, for its Python, such as 3.11."),
    ] = None,
    layout: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help=f"Add the model as another runtime loads it: {', '.join(layout_names())}. May be repeated."
        ),
    ] = None,
    web: Annotated[
        bool, typer.Option("--web", help="Add a static folder that answers in a browser, with a page to try it.")
    ] = False,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEY", help="Sign with this private key (PEM, elliptic curve); no network is asked.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write everything to ship into RESULT/artifacts: bundle, archive, runner, model card, CycloneDX BOM, SHA256SUMS."""
    from edgekit.pack.artifacts import make_artifacts
    from edgekit.progress import Show

    show = Show(silent=as_json)
    written = [
        make_artifacts(result, oci=oci, key=sign, wheelhouse=wheelhouse, layouts=layout or (), web=web, say=show.line)
        for result in results
    ]
    emit([item.document() for item in written], as_json, [part for item in written for part in item.shown()])


def report(
    build: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A result folder, or the build folder above several.")
    ] = BUILD,
    as_json: Json = False,
) -> None:
    """Write the report again: Markdown and one self-contained HTML page."""
    from edgekit.pipeline.report import tables, write_reports

    paths = [str(path) for path in write_reports(build)]
    emit(paths, as_json, [] if as_json else [*tables(build), *paths])


def _results(results: list[Result]) -> Iterator[RenderableType]:
    """Each result's table, then where things lie."""
    from edgekit.pipeline.report import tables

    for result in results:
        yield from (
            *tables(result.path),
            "",
            f"bundle   {result.bundle}",
            f"archive  {result.archive}",
            f"report   {result.report}",
            *([] if result.checkpoint is None else [f"checkpoint  {result.checkpoint}"]),
        )
        yield from (f"NOT MET  {fault}" for fault in result.missed)
        if result.missed:
            yield f"see      {explained('a-budget-was-not-met')}"
        if result.up_to_date:
            yield "Everything is up to date; nothing was run. `edgekit bench` measures again."


def _outline(explanation: Explanation) -> Iterator[str]:
    """A plan in a few lines: what will run, in which number format, and where; `edgekit plan` has the rest."""
    from edgekit.report.format import plural

    to_run = [stage["title"] for stage in explanation["stages"] if stage["state"] != "done"]
    done = len(explanation["stages"]) - len(to_run)
    names = ", ".join(item["target"] for item in explanation["targets"])
    yield f"for {names}: {plural(len(to_run), 'stage')} to run" + (
        f", {done} done already, which takes so much less than all of them" if done else ""
    )
    yield from (f"  {number:2}  {title}" for number, title in enumerate(to_run, 1))
    for item in explanation["targets"]:
        said = {name: one for name, one in item["quantize"].items() if one["from"] != "default" or name == "format"}
        sources = sorted({one["from"] for one in said.values()} - {"default"})
        form = ", ".join(f"{name} = {str(one['value']).lower()}" for name, one in said.items())
        where = "measured here" if item["measured_here"] else "exported only, as this machine is not that target"
        yield f"{item['target']}: {form}" + (f" (from the {' and the '.join(sources)})" if sources else "") + f"; {where}"
    yield from explanation["notes"]


def _explained(explanation: Explanation) -> Iterator[RenderableType]:
    """The table of stages, then each target's settings."""
    from rich.table import Table
    from rich.text import Text

    from edgekit.plan.needs import shown_needs
    from edgekit.runtime.shown import visible

    names = ", ".join(item["target"] for item in explanation["targets"])
    title = Text(visible(f"{explanation['recipe']}, {explanation['task']}, for {names}"))
    table = Table(title=title, title_justify="left")
    for column in ("stage", "key", "state", "reads of the target"):
        table.add_column(column, overflow="fold")
    for stage in explanation["stages"]:
        row = (stage["title"], stage["key"][:12], stage["state"], ", ".join(stage["reads"]) or "nothing")
        table.add_row(*(Text(visible(cell)) for cell in row))
    yield table
    for item in explanation["targets"]:
        for name, setting in item["quantize"].items():
            source = "default" if setting["from"] == "default" else f"from the {setting['from']}"
            yield f"{item['target']}: {name} = {setting['value']}  ({source})"
    yield from shown_needs(explanation["needs"])
    yield from explanation["notes"]
    for item in explanation["targets"]:
        where = "measured here" if item["measured_here"] else "exported only: this host is not that target"
        yield f"{item['target']}: {where}"
