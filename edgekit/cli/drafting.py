"""A recipe from a model, and one file of rows where there is one: `edgekit init`, and `edgekit export --model M --data F`."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgekit.cli import complete
from edgekit.cli.label_file import labels_in, write_labels
from edgekit.cli.output import emit
from edgekit.cli.parameters import Json
from edgekit.errors import BadInput, EdgekitError
from edgekit.runtime.outputs import check_output_folder
from edgekit.runtime.shown import visible
from edgekit.runtime.temporary import temporary_folder

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgekit.draft import Asked, Budget, Choice, Draft, Unclear

__all__ = [
    "Answers", "Columns", "DataFile", "Faster", "Group", "Labels", "Lose", "MaxLength", "ModelSource", "Name", "NumberFormat", "Options", "TaskName",
    "asked_of", "budget_of", "check_place", "drafted", "init", "recipe_name", "Smaller", "SplitColumn", "shown", "unwritten", "write_recipe",
]  # fmt: skip

QUESTIONS = 5
"""That a person is asked at most."""
DRAFTED = "the drafted recipe"
"""What a message calls one that is not written."""
LARGEST = 500_000
"""Bytes of a recipe."""
WIDE = 40
"""Characters of a value from which it is not padded to."""
OF_ROWS = ("--column", "--label", "--answers", "--group", "--split")
"""Options that say something of the rows."""
MEANT = ("train", "validation", "test", "none")
"""What a value of a column of splits may mean."""
ModelSource = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="FOLDER|ID", help="A model folder or hub id (perhaps with @REVISION), instead of a recipe."
    ),
]
DataFile = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="ROWS",
        help="Its rows: one file, which is split here, a folder, or hub:owner/name with @revision and #config. Without, texts that are shipped.",
    ),
]
TaskName = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="The task, where model and rows fit several (`edgekit ls tasks`).",
        autocompletion=complete.tasks,
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="COLUMN=NAME", help="Which column of the file is which, as in text=utterance; again for more."
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="LABEL=NAME",
        help="Which of the model's labels one of the file's is, as in pos=positive; again for more, or @FILE (written if it is not there).",
    ),
]
Answers = Annotated[
    str | None,
    typer.Option(
        "--answers", metavar="WHO", help="Who says what is right: rows, or original, where none of the columns is a label."
    ),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Of the recipe and the bundle; by default after the model and the rows."),
]
Group = Annotated[
    str | None, typer.Option("--group", metavar="NAME", help="Column whose equal values stay in one split, such as customer.")
]
SplitColumn = Annotated[
    list[str] | None,
    typer.Option(
        "--split",
        metavar="COLUMN|VALUE=SPLIT",
        help="Column that says which split a row is of, or none; and what a value of it means, as in holdout=test.",
    ),
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", metavar="TOKENS", help="Of the longest input; longer ones are cut.")
]
Faster = Annotated[
    str | None,
    typer.Option(
        "--faster",
        metavar="TIMES",
        help="Budget: times as fast as ONNX Runtime fp32 of the model, such as 4x (encoders only).",
    ),
]
Smaller = Annotated[
    str | None,
    typer.Option("--smaller", metavar="MB", help="Budget: size of model and tokenizer at most, such as 20MB (encoders only)."),
]
Lose = Annotated[
    str | None,
    typer.Option(
        "--lose",
        metavar="POINTS",
        help="Budget: points that may be lost: with 1% an accuracy of 90% may become 89% (of a language model: how far perplexity rises).",
    ),
]
NumberFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Of a language model's weights: int8-weights (as without it), or int4-weights, smaller and faster for some quality.",
    ),
]


@dataclass(frozen=True)
class Options:
    """What the command line says of a draft beside model and rows; None is not said."""

    task: str | None
    column: list[str] | None
    label: list[str] | None
    answers: str | None
    group: str | None
    max_length: int | None
    faster: str | None
    smaller: str | None
    lose: str | None
    format: str | None = None
    split: list[str] | None = None

    @property
    def any(self) -> list[str]:
        """The options that are there."""
        return [f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value is not None]


def init(
    model: Annotated[str, typer.Option("--model", metavar="FOLDER|ID", help="A model folder or hub id.")],
    data: DataFile = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="RECIPE", help="The recipe's file; by default named after the rows, or the model."),
    ] = None,
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
    as_json: Json = False,
) -> None:
    """Write the recipe that a model and rows ask for; asks only what cannot be seen in them."""
    asked = asked_of(
        model, data, Options(task, column, label, answers, group, max_length, faster, smaller, lose, number_format, split)
    )
    path = out if out is not None else Path(f"{recipe_name(asked)}.toml")
    if path.suffix != ".toml":
        raise BadInput("a recipe's file ends in .toml", where=str(path), fix=f"--out {path.name}.toml")
    check_output_folder(path.parent, "--out")
    made = drafted(asked, path.parent, ask=not as_json)
    write_recipe(made, path, "--out OTHER.toml")
    document = {"recipe": str(path), "seen": [vars(one) for one in made.seen]}
    emit(document, as_json, [*shown(made), f"written to {path}", f"next: edgekit plan {path}, then edgekit export {path}"])


def asked_of(model: str, data: str | None, options: Options) -> Asked:
    """The command line's options as a question to the draft.

    Raises:
        BadInput: an option that is not written as it should be; all of them at once.
    """
    from edgekit.draft import FORMATS, Asked

    texts = {"--model": model, "--data": data, "--task": options.task, "--answers": options.answers, "--group": options.group}
    faults = [f"{option} is empty" for option, text in texts.items() if text is not None and not text.strip()]
    budget = _budget(options, faults)
    columns = _pairs(options.column, "--column", "COLUMN=NAME, as in text=utterance", faults)
    files = [one for one in options.label or [] if one.startswith("@") and "=" not in one]
    labels = _pairs(
        [one for one in options.label or [] if one not in files], "--label", "LABEL=NAME, as in pos=positive", faults
    )
    missing = [one[1:] for one in files if not Path(one[1:]).exists()]
    for name in (one[1:] for one in files if one[1:] not in missing):
        labels = {**labels_in(Path(name)), **labels}  # what the line says comes before what a file says
    if len(missing) > 1:
        faults.append(f"--label @{missing[0]} and --label @{missing[1]}: neither is there; name one file to be written")
    of_splits = [one for one in options.split or [] if "=" not in one]
    splits = _pairs(
        [one for one in options.split or [] if "=" in one], "--split", "COLUMN or VALUE=SPLIT, as in holdout=test", faults
    )
    faults += [f"--split {one}: empty" for one in of_splits if not one.strip()]
    faults += [f"--split {' and --split '.join(of_splits)}: one column says it"] if len(of_splits) > 1 else []
    faults += [
        f"--split {value}={split}: write train, validation, test, or none, where its rows are left out"
        for value, split in splits.items()
        if split not in MEANT
    ]
    answers: Literal["rows", "original"] | None = None
    if options.answers in ("rows", "original"):
        answers = "original" if options.answers == "original" else "rows"
    elif options.answers:
        faults.append(f"--answers {options.answers}: write rows or original")
    if options.format is not None and options.format not in FORMATS:
        near = next((name for name in FORMATS if name.startswith(options.format)), None)
        faults.append(f"--format {options.format}: write {near or ' or '.join(FORMATS)}")
    if data is None and (of_rows := [name for name in options.any if name in OF_ROWS]):
        faults.append(f"{' and '.join(of_rows)} say something of rows, which --data names")
    if options.max_length is not None and not 8 <= options.max_length <= 8192:
        faults.append(f"--max-length {options.max_length}: from 8 to 8192 tokens")
    if faults:
        raise BadInput("options that cannot be used", faults=faults)
    to = missing[0] if missing else None
    of_split = of_splits[0] if of_splits else None
    return Asked(
        model, data, options.task, columns, labels, answers, options.group, options.max_length, budget,
        split=of_split, splits=splits, labels_to=to, format=options.format,
    )  # fmt: skip


def budget_of(options: Options) -> Budget:
    """What --faster, --smaller and --lose ask for; raises BadInput where one is not written as it should be."""
    faults: list[str] = []
    budget = _budget(options, faults)
    if faults:
        raise BadInput("options that cannot be used", faults=faults)
    return budget


def _budget(options: Options, faults: list[str]) -> Budget:
    from edgekit.draft import Budget

    times = _amount(options.faster, "x", "--faster", "4x", faults)
    size = _amount(options.smaller, "MB", "--smaller", "8MB", faults)
    share = _share(options.lose) if options.lose is not None else None
    if options.lose is not None and share is None:
        faults.append(f"--lose {options.lose}: write a share from 0% to 100%, as in 1% (or 0.01)")
    return Budget(times, size, share)


def _pairs(given: list[str] | None, option: str, form: str, faults: list[str]) -> dict[str, str]:
    """What stands before the first = -> what stands behind it."""
    pairs = [one.partition("=") for one in given or []]
    faults += [f"{option} {before}{mark}{after}: write {form}" for before, mark, after in pairs if not (before and after)]
    twice = [before for before, count in Counter(before for before, _, _ in pairs).items() if count > 1]
    faults += [f"{option} {before}: said twice" for before in twice]
    return {before: after for before, _, after in pairs}


def drafted(asked: Asked, folder: Path | None, *, ask: bool) -> Draft:
    """The draft; a person at a terminal is asked what the files leave open, a script is told which option says it."""
    from edgekit.draft import Unclear, draft

    left = QUESTIONS if ask and _at_a_terminal() else 0
    while True:  # each answer settles a column, labels or the task, and is not asked for again
        try:
            made = draft(asked, folder)
        except Unclear as question:
            if question.labels and asked.labels_to is not None:
                raise write_labels(question, asked, Path(asked.labels_to)) from None
            if not left or not question.choices:
                raise _open(question) from None
            asked, left = _settled(asked, _answer(question)), left - 1
        else:
            if asked.labels_to is not None:
                raise BadInput(
                    "no such file, and no label is open, for which it would be written", where=asked.labels_to,
                    fix="leave --label out, or correct the name",
                )  # fmt: skip
            return made


def _settled(asked: Asked, choice: Choice) -> Asked:
    """`asked` with what `choice` says."""
    for option, name, value in choice.says:
        if option == "--task":
            asked = replace(asked, task=value)
        elif option == "--answers":
            asked = replace(asked, answers="original" if value == "original" else "rows", labels={})
        elif option == "--split" and name:
            asked = replace(asked, splits={**asked.splits, name: value})
        elif option == "--split":
            asked = replace(asked, split=value, splits={} if value == "none" else asked.splits)
        elif option == "--column":
            asked = replace(asked, columns={**asked.columns, name: value})
        else:
            asked = replace(asked, labels={**asked.labels, name: value})
    return asked


def _at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def recipe_name(asked: Asked, name: str | None = None) -> str:
    """What the recipe is called, and with it the result's folder: `name`, or after the model, and the rows where there are some.

    Raises:
        BadInput: a name that is not one of a file.
    """
    if name is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise BadInput(f"{name!r} is no name", where="--name", fix="write letters, digits, - and _, as in --name tickets")
        return name
    model = (
        Path(os.path.realpath(asked.model)).name
        if Path(asked.model).exists()
        else asked.model.partition("@")[0].rpartition("/")[2]
    )
    stem = model if asked.data is None else f"{model}-{Path(os.path.realpath(asked.data)).name.partition('.')[0] or 'rows'}"
    stem += (
        "" if asked.format is None else f"-{asked.format}"
    )  # beside the result of another format, which would be overwritten
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "rows"


def write_recipe(made: Draft, path: Path, elsewhere: str) -> None:
    """Write a draft where `check_place` lets it be; raises as that does."""
    from edgekit.runtime.outputs import write_atomically

    check_place(made, path, elsewhere)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, made.text)


def check_place(made: Draft, path: Path, elsewhere: str) -> None:
    """A draft may take the place of an earlier one of the same model, rows and task that nobody has edited; any other file there is somebody's
    work, and stays. `elsewhere`: what on the command line has it written to another place.

    Raises:
        BadInput: there is one.
    """
    from edgekit.draft import is_unedited, told_apart
    from edgekit.runtime.files import read_utf8

    if path.exists() and not (path.is_file() and is_unedited(read_utf8(path, LARGEST))):
        raise BadInput(
            "is there already, and is no draft, or one that somebody has edited",
            where=str(path),
            fix="use it as it is (edgekit export), move it, or name another file",
        )
    if path.exists() and (differ := told_apart(read_utf8(path, LARGEST), made, path.parent)):
        raise BadInput(
            "is the draft of another line, whose recipe and result this one would overwrite",
            where=str(path),
            faults=differ,
            fix=f"keep both: {elsewhere}; or delete that file, where this one is to take its place",
        )


@contextmanager
def unwritten(asked: Asked, name: str, *, ask: bool) -> Iterator[tuple[Draft, Path]]:
    """(the draft, the recipe in a folder that goes away): for a look at the plan alone."""
    from edgekit.data.formats import read_once

    with read_once(), temporary_folder("a drafted recipe") as folder:
        made = drafted(asked, None, ask=ask)
        path = folder / f"{name}.toml"
        path.write_text(made.text, encoding="utf-8")
        try:
            yield made, path
        except EdgekitError as fault:
            fault.where = fault.where and fault.where.replace(str(path), DRAFTED)
            raise


def shown(made: Draft) -> Iterator[RenderableType]:
    """What was seen: a table in a terminal, a line each elsewhere."""
    if not sys.stdout.isatty():
        width, wide = (
            max(len(one.setting) for one in made.seen),
            max(len(one.value) for one in made.seen if len(one.value) < WIDE),
        )
        yield from (f"{one.setting:<{width}}  {one.value:<{wide}}  {one.reason}" for one in made.seen)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title="seen in the files", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("setting", "value", "why"):
        table.add_column(column, overflow="fold")
    for one in made.seen:
        table.add_row(*(Text(visible(cell)) for cell in (one.setting, one.value, one.reason)))
    yield table


def _amount(text: str | None, unit: str, option: str, example: str, faults: list[str]) -> float | None:
    """A positive number with its unit, which may be left out."""
    match = re.fullmatch(rf"(\d{{1,6}}(?:\.\d{{1,6}})?)\s*(?:{unit})?", (text or "").strip(), flags=re.IGNORECASE)
    if text is not None and (match is None or float(match[1]) == 0):
        faults.append(f"{option} {text}: write a number above 0, as in {example}{', in megabytes' if unit == 'MB' else ''}")
        return None
    return None if match is None else float(match[1])


def _share(text: str) -> float | None:
    """1% or 0.01 as 0.01; None for anything else, also for a plain 1, which may mean 1% or all of it."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)(%?)", text.strip())
    share = None if match is None else float(match[1]) / (100 if match[2] else 1)
    return share if match is not None and share is not None and share <= 1 and (match[2] or share < 1) else None


def _open(question: Unclear) -> BadInput:
    return question.told or BadInput(
        question.why,
        faults=[f"{choice.value}: {choice.what}" for choice in question.choices],
        fix=f"say which: {' or '.join(choice.options for choice in question.choices)}",
        see="which-is-meant",
    )


def _answer(question: Unclear) -> Choice:
    """One of the choices, by its number or its name."""
    typer.echo(f"{question.why}:")
    for number, choice in enumerate(question.choices, 1):
        typer.echo(f"  {number}. {choice.value}: {choice.what}")
    default = None if "NAME" in question.labels.values() else "1"  # of labels that are like nothing none is likelier
    while True:
        answer = str(typer.prompt("which", default=default)).strip()
        if (value := chosen(answer, [choice.value for choice in question.choices])) is not None:
            return next(choice for choice in question.choices if choice.value == value)
        typer.echo(f"a number from 1 to {len(question.choices)}, or a name from the list")


def chosen(answer: str, values: Sequence[str]) -> str | None:
    """The one of `values` that a person means by its number from 1 on, or by its name; None for anything else."""
    if answer in values:
        return answer
    return values[int(answer) - 1] if re.fullmatch("[0-9]{1,3}", answer) and 1 <= int(answer) <= len(values) else None
