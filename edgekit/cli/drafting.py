"""A recipe from a model, and one file of rows where there is one: `edgekit init`, and `edgekit export --model M --data F`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli import complete
from edgekit.cli.output import Json, emit
from edgekit.errors import BadInput
from edgekit.runtime.temporary import temporary_folder

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgekit.draft import Asked, Draft, Unclear

__all__ = [
    "Columns", "DataFile", "Faster", "Group", "Lose", "MaxLength", "ModelSource", "TaskName", "asked_of", "drafted", "init", "recipe_name",
    "Smaller", "shown", "unwritten", "write_recipe",
]  # fmt: skip

LARGEST = 500_000
"""Bytes of a recipe."""
ModelSource = Annotated[
    str | None, typer.Option("--model", metavar="FOLDER|ID", help="A model folder or hub id, instead of a recipe.")
]
DataFile = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="FILE", help="Its rows in one file; they are split here. Without one, texts that are shipped."
    ),
]
TaskName = Annotated[
    str | None,
    typer.Option(
        "--task", help="The task, where model and rows fit several (`edgekit ls tasks`).", autocompletion=complete.tasks
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="COLUMN=NAME", help="Which column of the file is which, as in text=utterance; again for more."
    ),
]
Group = Annotated[
    str | None, typer.Option("--group", metavar="NAME", help="Column whose equal values stay in one split, such as customer.")
]
MaxLength = Annotated[int | None, typer.Option("--max-length", help="Tokens of the longest input.")]
Faster = Annotated[
    str | None,
    typer.Option(
        "--faster", metavar="TIMES", help="Times as fast as ONNX Runtime fp32 of the model, such as 4x; chooses the recipe."
    ),
]
Smaller = Annotated[
    str | None,
    typer.Option("--smaller", metavar="MB", help="Size of model and tokenizer at most, such as 8MB; chooses the recipe."),
]
Lose = Annotated[
    str | None,
    typer.Option("--lose", metavar="SHARE", help="Quality that may be lost, such as 1% (of a language model: perplexity)."),
]


def init(
    model: Annotated[str, typer.Option("--model", metavar="FOLDER|ID", help="A model folder or hub id.")],
    data: DataFile = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="RECIPE", help="The recipe's file; by default named after the rows, or the model."),
    ] = None,
    task: TaskName = None,
    column: Columns = None,
    group: Group = None,
    max_length: MaxLength = None,
    faster: Faster = None,
    smaller: Smaller = None,
    lose: Lose = None,
    as_json: Json = False,
) -> None:
    """Write the recipe that a model and rows ask for; asks only what cannot be seen in them."""
    asked = asked_of(model, data, task, column, group, max_length, (faster, smaller, lose))
    path = out if out is not None else Path(f"{recipe_name(asked)}.toml")
    if path.suffix != ".toml":
        raise BadInput("a recipe's file ends in .toml", where=str(path), fix=f"--out {path.name}.toml")
    made = drafted(asked, path.parent, ask=not as_json)
    write_recipe(made, path)
    document = {"recipe": str(path), "seen": [vars(one) for one in made.seen]}
    emit(document, as_json, [*shown(made), f"written to {path}", f"next: edgekit plan {path}, then edgekit export {path}"])


def asked_of(
    model: str,
    data: str | None,
    task: str | None,
    columns: list[str] | None,
    group: str | None,
    max_length: int | None,
    budget: tuple[str | None, str | None, str | None],
) -> Asked:
    """The command line's options as a question to the draft.

    Raises:
        BadInput: an option that is not written as it should be; all of them at once.
    """
    from edgekit.draft import Asked, Budget

    faults: list[str] = []
    faster, smaller, lose = budget
    times = _amount(faster, "x", "--faster", "4x", faults)
    size = _amount(smaller, "MB", "--smaller", "8MB", faults)
    pairs = [column.partition("=") for column in columns or []]
    faults += [
        f"--column {before}{mark}{after}: write COLUMN=NAME, as in text=utterance"
        for before, mark, after in pairs
        if not (before and after)
    ]
    share = _share(lose) if lose is not None else None
    if lose is not None and share is None:
        faults.append(f"--lose {lose}: write a share from 0% to 100%, as in 1%")
    if data is None and (pairs or group is not None):
        faults.append("--column and --group are of a file of rows, which --data names")
    if max_length is not None and not 8 <= max_length <= 8192:
        faults.append(f"--max-length {max_length}: from 8 to 8192 tokens")
    if faults:
        raise BadInput("options that cannot be used", faults=faults)
    return Asked(
        model, data, task, {before: after for before, _, after in pairs}, group, max_length, Budget(times, size, share)
    )


def drafted(asked: Asked, folder: Path | None, *, ask: bool) -> Draft:
    """The draft; a person at a terminal is asked what the files leave open, a script is told which option says it."""
    from edgekit.draft import Unclear, draft

    while True:  # each answer settles one column or the task, and is not asked for again
        try:
            return draft(asked, folder)
        except Unclear as question:
            if not (ask and sys.stdin.isatty() and sys.stdout.isatty()):
                raise _open(question) from None
            value, column = _answer(question), question.column
            asked = replace(asked, task=value) if column is None else replace(asked, columns={**asked.columns, column: value})


def recipe_name(asked: Asked) -> str:
    """What the recipe is called, and with it the result's folder: after the model, and the file of rows where there is one."""
    model = Path(asked.model).resolve().name
    stem = model if asked.data is None else f"{model}-{Path(asked.data).name.partition('.')[0] or 'rows'}"
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "rows"


def write_recipe(made: Draft, path: Path) -> None:
    """Write a draft, over an earlier one that nobody has edited; any other file in its place is somebody's work, and stays.

    Raises:
        BadInput: there is one.
    """
    from edgekit.draft import is_unedited
    from edgekit.runtime.files import read_utf8
    from edgekit.store import write_atomically

    if path.exists() and not (path.is_file() and is_unedited(read_utf8(path, LARGEST))):
        raise BadInput(
            "is there already, and is no draft, or one that somebody has edited",
            where=str(path),
            fix="use it as it is (edgekit export), move it, or name another file",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, made.text)


@contextmanager
def unwritten(asked: Asked, name: str, *, ask: bool) -> Iterator[tuple[Draft, Path]]:
    """(the draft, the recipe in a folder that goes away): for a look at the plan alone."""
    made = drafted(asked, None, ask=ask)
    with temporary_folder("a drafted recipe") as folder:
        path = folder / f"{name}.toml"
        path.write_text(made.text, encoding="utf-8")
        yield made, path


def shown(made: Draft) -> Iterator[RenderableType]:
    """The table of what was seen."""
    from rich.table import Table

    table = Table(title="seen in the files", title_justify="left")
    for column in ("setting", "value", "why"):
        table.add_column(column, overflow="fold")
    for one in made.seen:
        table.add_row(one.setting, one.value, one.reason)
    yield table


def _amount(text: str | None, unit: str, option: str, example: str, faults: list[str]) -> float | None:
    """A positive number with its unit, which may be left out."""
    match = re.fullmatch(rf"(\d{{1,6}}(?:\.\d{{1,6}})?)\s*(?:{unit})?", (text or "").strip(), flags=re.IGNORECASE)
    if text is not None and (match is None or float(match[1]) == 0):
        faults.append(f"{option} {text}: write a number above 0, as in {example}")
        return None
    return None if match is None else float(match[1])


def _share(text: str) -> float | None:
    """1% or 0.01 as 0.01; None for anything else."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)(%?)", text.strip())
    share = None if match is None else float(match[1]) / (100 if match[2] else 1)
    return share if share is not None and share <= 1 else None


def _open(question: Unclear) -> BadInput:
    return BadInput(
        question.why,
        faults=[f"{choice.value}: {choice.what}" for choice in question.choices],
        fix=f"say which: {question.option(question.choices[0])}",
    )


def _answer(question: Unclear) -> str:
    """One of the choices, by its number."""
    typer.echo(f"{question.why}:")
    for number, choice in enumerate(question.choices, 1):
        typer.echo(f"  {number}. {choice.value}: {choice.what}")
    while True:
        number = int(typer.prompt("which", type=int, default=1))
        if 1 <= number <= len(question.choices):
            return question.choices[number - 1].value
        typer.echo(f"from 1 to {len(question.choices)}")
