"""A search for the best recipe under a budget: `edgekit tune`."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

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
    Options,
    Smaller,
    SplitColumn,
    TaskName,
    asked_of,
    budget_of,
    drafted,
    recipe_name,
    shown,
    write_recipe,
)
from edgekit.cli.output import emit
from edgekit.cli.parameters import BUILD, Build, Json, Store
from edgekit.errors import BadInput
from edgekit.runtime.outputs import write_atomically
from edgekit.tuner.front import SAMPLER, out_of_bounds

if TYPE_CHECKING:
    from types import FrameType

    from rich.console import RenderableType

    from edgekit.progress import Show
    from edgekit.tuner.front import Sampler
    from edgekit.tuner.results import Found

__all__ = ["tune"]


def tune(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="Recipe name (`edgekit ls recipes`) or .toml file to search around.",
            autocompletion=complete.recipes,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            metavar="TARGET",
            help="Target name (`edgekit ls targets`) or .toml file, one a search. Default: this host's best.",
            autocompletion=complete.targets,
        ),
    ] = None,
    build: Build = BUILD,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", metavar="N", help="Time that this worker searches for; 60 where no --trials are asked for."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", help="Trials of the whole study, whoever runs them.")
    ] = None,
    lose: Lose = None,
    faster: Faster = None,
    smaller: Smaller = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL|FILE",
            help="Where workers share the study: postgresql://HOST/NAME, or a journal file. Default: the build folder.",
        ),
    ] = None,
    store: Store = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="DEVICE",
            help="Time trials on user@host over ssh, or on this one of --inventory. Default: here, where this host is the target.",
        ),
    ] = None,
    inventory: Annotated[Path | None, typer.Option(metavar="FILE", help="File of devices (TOML).")] = None,
    sampler: Annotated[
        str, typer.Option("--sampler", metavar="gp|tpe|nsga2|random", help="How the next trial is drawn.")
    ] = SAMPLER,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of what is drawn; by default the recipe's.")] = None,
    model: ModelSource = None,
    data: DataFile = None,
    task: TaskName = None,
    column: Columns = None,
    label: Labels = None,
    answers: Answers = None,
    group: Group = None,
    split: SplitColumn = None,
    max_length: MaxLength = None,
    as_json: Json = False,
) -> None:
    """Search for the best recipes under a budget: methods, their order and settings, and number formats. The same command goes on."""
    from edgekit.progress import Show
    from edgekit.tuner.front import Bounds
    from edgekit.tuner.on_device import device_of
    from edgekit.tuner.results import tuned
    from edgekit.tuner.run import Asked

    of_rows = Options(task, column, label, answers, group, max_length, None, None, None, split=split)
    wanted = budget_of(replace(of_rows, faster=faster, smaller=smaller, lose=lose))
    budget = Bounds(wanted.lose, wanted.faster, wanted.smaller)
    faults = out_of_bounds(minutes, trials, sampler, "--")
    if target is not None and len(target) > 1:
        faults.append(f"--target {' and --target '.join(target)}: a search is for one target; search for each of them")
    if faults:
        raise BadInput("options that cannot be used", faults=faults)
    drafted_before: tuple[Path, bytes | None] | None = None
    if model is not None:
        path, before = _around(recipe, model, data, of_rows, build, as_json=as_json)
        chosen, drafted_before = str(path), (path, before)
    elif said := [*(["--data"] if data is not None else []), *of_rows.any]:
        raise BadInput(f"{', '.join(said)} go{'es' * (len(said) == 1)} with --model", fix="or write it into the recipe")
    elif recipe is None:
        raise BadInput(
            "say what to search around: a recipe, or a model",
            fix="edgekit tune RECIPE (`edgekit ls recipes`), or edgekit tune --model FOLDER --data FILE",
        )
    else:
        chosen = recipe
    asked = Asked(
        chosen, target[0] if target else None, build, budget, minutes, trials, storage, cast("Sampler", sampler), seed, store,
        device_of(device, inventory),
    )  # fmt: skip
    begun = list[bool]()
    show = Show(silent=as_json)
    try:
        with _ended_by_sigterm(show):
            found = tuned(replace(asked, begun=lambda: begun.append(True)), show)
    except BadInput:
        if (
            drafted_before is not None and not begun
        ):  # a refused command leaves the recipe of the search that is there as it was
            _put_back(*drafted_before)
        raise
    emit(found.document, as_json, _found(found))
    if not found.kept:
        raise typer.Exit(1)


@contextmanager
def _ended_by_sigterm(show: Show) -> Iterator[None]:
    """Within it SIGTERM ends this process as Ctrl-C does, and either is said at once: what runs may take a while to let go."""
    own, words = os.getpid(), {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}

    def heard(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a forked process of training rows, which ends as it always did
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        show.line(f"  {words[signal.Signals(number)]}: it ends as soon as what runs now lets go")
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, heard) for number in words}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _put_back(path: Path, text: bytes | None) -> None:
    """Have the file at `path` hold what it held; None: there was none."""
    if text is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, text.decode("utf-8"))


def _around(
    recipe: str | None, model: str, data: str | None, options: Options, build: Path, *, as_json: bool
) -> tuple[Path, bytes | None]:
    """(the recipe of model and rows without any step, which is what is searched around; what its file held before)."""
    if recipe is not None:
        raise BadInput("give either a recipe, or --model, and --data where there are rows", fix=f"edgekit tune {recipe}")
    from edgekit.draft import TIME, kinds_of
    from edgekit.tuner.run import of_language_models

    asked = asked_of(model, data, options)
    if kinds_of(asked.model, asked.task) == {"decoder"}:  # before its rows are read
        raise of_language_models(
            "this is a language model" if asked.task is None else f"{asked.task} is of a language model", model
        )
    path = build / f"{recipe_name(asked)}.toml"
    made = drafted(asked, path.parent, ask=not as_json)
    before = path.read_bytes() if path.is_file() else None
    write_recipe(made, path, "--build FOLDER")
    if not as_json:
        of_search = replace(made, seen=tuple(one for one in made.seen if one.setting != TIME))  # which is an export's
        emit(None, False, [*shown(of_search), f"the recipe: {path}"])
    return path, before


def _found(found: Found) -> Iterator[RenderableType]:
    from edgekit.report.grid import TerminalTable
    from edgekit.tuner.page import points_grid
    from edgekit.tuner.words import earlier_points, left_to_others

    if found.points:
        yield TerminalTable(points_grid(found.document, page=False))
    if found.left_to_others:
        yield f"NOT YET  {left_to_others(found.document)}"
    else:
        yield from (f"NOT MET  {line}" for line in found.document["nearest"])  # type: ignore[union-attr]
    for number, point in enumerate(found.points, 1):
        yield f"point {number}  trial {point.trial}: {point.steps}"
        yield f"recipe   {point.recipe}"
        yield f"bundle   {point.result}"
    if earlier := found.document["earlier"]:
        yield f"kept     {earlier_points(earlier)}"  # type: ignore[arg-type]
    yield f"page     {found.page}"
