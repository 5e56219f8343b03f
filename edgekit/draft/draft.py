"""From a model, and rows where there are some, to a recipe, as the text of its file and a table of reasons. Only files are read here."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.config.recipe import TEXTS, Finetune
from edgekit.config.toml import parse, toml_string
from edgekit.data.columns import INPUTS, usable_value
from edgekit.data.labels import as_lines, as_table, few, spelled
from edgekit.data.sources import SPLITS
from edgekit.data.texts import every_text
from edgekit.draft.direction import direction_of
from edgekit.draft.duration import about, line_seconds, measured_machine
from edgekit.draft.fit import NO_LABEL, Said, Table, as_text, categories, few_values, hold_labels, text_columns, there_in
from edgekit.draft.given import given
from edgekit.draft.labels import LABELS, are_labels, guessed, labels_in, meaning_of, what_labels_mean
from edgekit.draft.lengths import length_of
from edgekit.draft.of_splits import NO_COLUMN, check_splits, split_column
from edgekit.draft.proven import Budget, Workload, choose
from edgekit.draft.rows import CALLED, NAMED, Rows, read_for_draft
from edgekit.draft.seen import TIME, Choice, Seen, Unclear
from edgekit.draft.tasks import Answers, Candidate, candidates, without_rows
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.models.facts import ModelFacts
from edgekit.models.files import read_json
from edgekit.models.image_families import TEXT_TOWER, positions_read
from edgekit.models.shards import tensor_shapes
from edgekit.models.sound_families import frames_read
from edgekit.plan.facts import known_length, most_length
from edgekit.plan.recipes import recipe_model
from edgekit.runtime.jsontypes import JsonValue
from edgekit.tasks import find_task, task_names
from edgekit.tasks.task import AGREEMENT, Task

__all__ = ["FORMATS", "Asked", "Draft", "draft", "is_unedited", "told_apart"]

BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Instruction sets that train faster in bfloat16."""
EPOCHS = Finetune().epochs
"""Of a new head, as a recipe has it that says nothing of them."""
FORMATS: dict[str, tuple[dict[str, JsonValue], str]] = {
    "int8-weights": (
        {"block": 64},
        "as you said, and as without it: of 28 million weights nothing that could be told on text like their own, up to 0.3% on other",
    ),
    "int4-weights": (
        {"block": 32, "rounding": "gptq"},
        "as you said, by GPTQ: of 28 million weights 0.7% of perplexity on text like the training rows that it reads, up to 3% on other",
    ),
}
"""Number formats of a language model's weights -> (the rest of [quantize], what it costs: benchmarks/language_quality)."""
MOST_LABELS = 10
"""Labels that are shown."""
IN_A_LINE = 4
"""Labels that stand in one line of a recipe; more have a line each."""
MARKS = ("\t", ";", "|", "^", ",", ":", "  ")
"""What may stand between a text and its label in one line."""
A_SECOND = 50
"""Positions of a second of sound, which stands for one of a model that reads any length (Wav2Vec2)."""
WORDS = 0.75
"""Words a token, about."""
HEAD = "# Drafted by edgekit, which writes over it as long as nobody edits it. To run it: edgekit export THIS_FILE. Draft "


@dataclass(frozen=True)
class Asked:
    """What the user said; the rest is seen in the files."""

    model: str
    """A folder, or a hub id, which may end in its revision: owner/name@revision."""
    data: str | None = None
    """A file of rows; None: texts that edgekit ships, which have no labels."""
    task: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the task -> its name in the file."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label in the file -> name of the model's output."""
    answers: Answers | None = None
    """Who says what is right; None: the rows, where they do."""
    group: str | None = None
    """Column whose values keep rows in one split."""
    max_length: int | None = None
    budget: Budget = field(default_factory=Budget)
    split: str | None = None
    """Column that says which split each row is of; "none": no column does."""
    splits: Mapping[str, str] = field(default_factory=dict)
    """What a value of that column means: train, validation, test, or none, where its rows are left out."""
    labels_to: str | None = None
    """A file that is not there, in which labels that are open are to be written."""
    format: str | None = None
    """Of a language model's weights, one of `FORMATS`; None: 8 bits, as the plan has it."""


@dataclass(frozen=True)
class Draft:
    """A recipe that nobody wrote."""

    text: str
    """Its file."""
    seen: tuple[Seen, ...]
    data: str | None = None
    """The rows that were asked for."""


def draft(asked: Asked, folder: Path | None) -> Draft:
    """The recipe for `asked`, as a file in `folder`, to which its paths are relative where they lie near; None: its paths hold anywhere.

    Raises:
        BadInput: files that cannot be read, no task that fits, no column that could be a label.
        NotPossibleHere: a hub id without a network.
        Unclear: the files leave open which of several tasks is meant.
    """
    model = given(asked.model)
    facts = model.facts
    rows = None if asked.data is None else read_for_draft(asked.data)
    table = () if rows is None else rows.looked_at
    _check_said(asked, rows)
    of_splits = (
        None if rows is None else split_column(rows, asked.split, {*asked.columns.values()}, grouped=asked.group is not None)
    )
    if rows is not None and of_splits is not None:
        table = rows.without(of_splits)
    if rows is None:
        found_tasks = without_rows(model, asked.task)
    else:
        found_tasks = candidates(model, table, Said(asked.columns, asked.labels), asked.task, asked.answers, rows.unheld)
    chosen = _one(found_tasks, asked)
    if chosen.form is not None and not chosen.form.conversations:
        of_splits = None  # gone once rows are gathered
    if rows is not None and of_splits is not None:
        check_splits(rows, of_splits, asked.splits, str(asked.data))
        rows = rows.as_named(of_splits, asked.splits)
    _check_chosen(chosen, facts, rows, asked)
    task, said = chosen.task, [Seen("task", chosen.task.name, chosen.reason if asked.task is None else "as you said")]
    if chosen.finetune:
        said.append(Seen("model.finetune", f"{EPOCHS} epochs", chosen.reason))
    columns = chosen.fit.columns
    said += [Seen(f"column {column}", name, chosen.fit.reasons[column]) for column, name in columns.items()]
    said += _not_read(chosen, table, asked.group, facts.labels or ())
    if chosen.form is not None:
        said.append(Seen("rows", "become those of the task", chosen.form.title))
    labels = {} if rows is None else _labels(chosen, rows, facts.labels or (), asked)
    if labels:
        said.append(Seen("data.labels", _shown_labels(labels), chosen.fit.labels_reason))
    if chosen.answers == "original":
        said.append(_without_answers(chosen, table, facts.labels, asked))
    length = asked.max_length
    if length is not None:
        said.append(Seen("model.max_length", str(length), "as you said"))
    elif rows is not None and task.kind == "encoder" and task.reads == "text":
        unasked, most = known_length(task, facts), most_length(task, facts)
        found = length_of(model.tokenizer, table, columns, unasked=unasked, most=most)
        if found is not None:
            length = found.tokens if found.written else None
            said.append(found.seen)
    of_texts = rows is not None and task.reads == "text"
    if of_texts and (direction := direction_of(table, columns, cuts_left=facts.cuts_left)) is not None:
        said.append(direction)
    if asked.group is not None:
        said.append(Seen("data.split.group", asked.group, "as you said: rows with the same value there stay in one split"))
    said.append(_shipped(task) if rows is None else rows.split)
    if asked.format is not None:
        if task.kind != "decoder":
            what = f"--format is for language models, and the task is {task.name}"
            raise BadInput(what, where=f"--format {asked.format}", fix="leave it out; [quantize] of a recipe says more")
        said.append(Seen("quantize.format", asked.format, FORMATS[asked.format][1]))
    steps: list[dict[str, JsonValue]] = []
    work, machine = _workload(model.weights, rows, columns, task), measured_machine()
    training = work.training(EPOCHS, machine.flops) if chosen.finetune else 0.0
    if asked.budget.chooses:
        proven, why = choose(asked.budget, task, work)
        steps = proven.steps(facts.layers, "bf16" if BF16 & detect().isa else "fp32")
        said.append(why)
        training += work.seconds(proven, machine.flops)
    seconds = line_seconds(task.kind, work, machine)
    of_it = f", {about(training)} of it to train and to compress, which a GPU does faster" if training else ""
    said.append(
        Seen(TIME, about(seconds + training), f"from here to the measured bundle, at the speed of this machine now{of_it}")
    )
    text = _toml(asked, rows, chosen, labels, length, steps, folder, of_splits)
    _check(text)
    return Draft(text, tuple(said), asked.data)


def _check_said(asked: Asked, rows: Rows | None) -> None:
    """Raises BadInput for what the user said of columns that the rows do not have, or that no task reads."""
    if rows is None:
        return
    there = {name for row in rows.every for name in row}
    tasks = [find_task(name) for name in task_names()]
    known = sorted({column for task in tasks for column in _columns_of(task)})
    named = {f"--column {column}={name}": name for column, name in asked.columns.items()}
    named |= {} if asked.group is None else {f"--group {asked.group}": asked.group}
    named |= {} if asked.split in (None, NO_COLUMN) else {f"--split {asked.split}": str(asked.split)}
    faults = [
        f"{option}: " + ("several columns have this name" if name in rows.doubled else "no column has this name")
        for option, name in named.items()
        if name not in there
    ]
    faults += [
        f"--column {column}={name}: "
        + (
            f"which split a row is of is said by --split {shlex.quote(name)}"
            if column in ("split", "splits") or CALLED.fullmatch(name)
            else f"no task reads a {column!r}; those that tasks read are {', '.join(known)}"
        )
        for column, name in asked.columns.items()
        if column not in known
    ]
    if (asked.split not in (None, NO_COLUMN) or asked.splits) and not rows.one_table:
        faults.append("--split: of the rows of one table, and these are split by their files or folders")
    elif (asked.split not in (None, NO_COLUMN) or asked.splits) and asked.group is not None:
        faults.append(
            "--split and --group: give either a column that says each row's split, or one whose equal values stay in one split"
        )
    twice = [name for name, count in Counter(asked.columns.values()).items() if count > 1]
    faults += [f"column {name!r} is to be several of the task's" for name in twice]
    if faults:
        raise BadInput(
            "options that do not fit the rows", where=str(asked.data), faults=[*faults, f"the rows have {few(sorted(there))}"]
        )


def _columns_of(task: Task) -> set[str]:
    return {*task.columns, *task.optional, *(() if task.alone is None else task.alone.columns)}


def _check_chosen(chosen: Candidate, facts: ModelFacts, rows: Rows | None, asked: Asked) -> None:
    """Raises BadInput where the task that was chosen does not read what the user said, the model does not name its outputs, the first row
    stands where names of columns do, or labels of the rows would be passed over."""
    if chosen.task.named and not chosen.finetune and facts.labels_fault is not None:
        raise BadInput(f"config.json, {facts.labels_fault}", where=asked.model)
    if rows is None:
        return
    columns, kinds = chosen.fit.columns, chosen.task.kinds
    unread = [column for column in asked.columns if column not in _columns_of(chosen.task) and column not in columns]
    faults = [
        f"--column {column}={asked.columns[column]}: {chosen.task.name} reads {', '.join(sorted(_columns_of(chosen.task)))}"
        for column in unread
    ]
    if asked.labels and chosen.answers == "original":
        faults.append("--label says what labels of the rows mean, and the original's answers are what is right (data.answers)")
    if faults:
        raise BadInput("options that the task has no use for", where=str(asked.data), faults=faults, fix="leave them out")
    for column, name in columns.items():
        values = [row.get(name) for row in rows.looked_at]
        if kinds.get(column, column) == "label" and column not in asked.columns and name in (labels_in(values) or ()):
            raise BadInput(
                f"the first line seems to be a row and no header: column {name!r} holds {name!r}", where=str(asked.data),
                fix=f"put a line with the names of the columns before it, such as {','.join(columns)}, or, where it is one, say so: "
                + shlex.join(part for pair in columns.items() for part in ("--column", "=".join(pair))),
            )  # fmt: skip
    if chosen.answers == "original" and asked.answers is None:
        _check_no_labels(chosen, facts, rows, asked)


def _check_no_labels(chosen: Candidate, facts: ModelFacts, rows: Rows, asked: Asked) -> None:
    """Raises BadInput where rows that are taken to have no labels have what looks like them."""
    task = chosen.task
    lacking = [column for column in task.columns if column not in chosen.fit.columns]
    faults = []
    if rows.doubled:
        faults.append(f"several columns are named {', '.join(map(repr, rows.doubled))}, so that none of them can be read")
    for name in there_in(rows.looked_at):
        if name in chosen.fit.columns.values():
            if (
                facts.labels is not None
                and task.named
                and task.reads == "text"
                and (text := _labelled_text(rows.looked_at, name, facts.labels)) is not None
            ):
                faults.append(
                    f"the texts of column {name!r} hold labels of the model beside them, as in {text[:80]!r}; they want a column of their own"
                )
            continue
        values = [row.get(name) for row in rows.looked_at]
        meant = next((column for column in lacking if name.casefold() in (column, f"{column}s")), None)
        if meant is not None:
            wrong = (usable_value(task.kinds.get(meant, meant), value)[1] for value in values)
            why = next((fault for fault in wrong if fault is not None), "holds nothing that the model names")
            faults.append(f"column {name!r} is no {meant} that can be read: it {why}")
        elif facts.labels is not None and task.named and are_labels(labels_in(values), facts.labels):
            faults.append(
                f"column {name!r} holds labels of the model ({few_values(values)}), which are no {' or '.join(lacking)} for {task.name}"
            )
    if faults:
        raise BadInput(
            "labels that cannot be read", where=str(asked.data), faults=faults,
            fix=f"correct the rows, name the task (--task) or the column (--column {lacking[0] if lacking else 'label'}=NAME); where the rows "
            "are to be without labels, say so: --answers original",
        )  # fmt: skip


def _labelled_text(rows: Table, name: str, known: Sequence[str]) -> str | None:
    """The first text of a column, where a label of the model, or the number of one, begins or ends each, with a mark and no space between, or
    as fastText has it; the first line may be a header."""
    labels, first = {label.casefold() for label in (*known, *map(str, range(len(known))))}, None
    for place, row in enumerate(rows):
        text = as_text(row.get(name)).casefold()
        parts = [text.removeprefix("__label__").partition(" ")[0]] if text.startswith("__label__") else []
        for mark in MARKS:
            parts += [text.partition(mark)[0], text.rpartition(mark)[2]] if mark in text else []
        if any(part.strip().strip("\"'") in labels for part in parts):
            first = first or as_text(row.get(name))
        elif place:
            return None
    return first


def _shipped(task: Task) -> Seen:
    """What quality is where no rows are given."""
    quality = AGREEMENT if task.kind == "encoder" else "perplexity"
    return Seen(
        "data.builtin",
        TEXTS,
        f"no --data: ranges are set on texts that edgekit ships, and quality is {quality}, on those; rows of your own say more",
    )


def _labels(chosen: Candidate, rows: Rows, known: Sequence[str], asked: Asked) -> dict[str, str]:
    """The table [data] labels: over all rows, as some of them may have labels that others have not.

    Raises:
        BadInput: a label that no row has.
        Unclear: labels that the model does not have.
    """
    kinds, columns = chosen.task.kinds, chosen.fit.columns
    if chosen.finetune:
        return dict(chosen.fit.labels)  # of a new head, which the rows name
    column = next((column for column in columns if kinds.get(column, column) in LABELS), None)
    if column is None or chosen.answers == "original" or not (chosen.fit.labels or chosen.fit.unknown or asked.labels):
        return {}
    every = labels_in((row.get(columns[column]) for row in rows.every), kinds.get(column, column))
    if every is not None and len(rows.every) == rows.count and (absent := sorted(set(asked.labels) - set(every))):
        raise BadInput(
            f"no row has {', no '.join(map(repr, absent))}", where="--label", fix=f"write one of {few(every)} before the ="
        )
    meaning = meaning_of(every or list(chosen.fit.labels), known, asked.labels)
    if meaning.unknown:
        raise _open_labels(
            meaning.unknown, known, {*meaning.table.values(), *(every or ())}, column, columns[column], str(asked.data)
        )
    return dict(meaning.table)


def _open_labels(unknown: Sequence[str], known: Sequence[str], used: Set[str], column: str, name: str, data: str) -> Unclear:
    """The question what labels mean that the model does not have. `used`: names that others are; `column` of the task is `name` in the file."""
    guesses = guessed(unknown, known, [one for one in known if one in used])
    options = " ".join(f"--label {shlex.quote(f'{label}={meant}')}" for label, meant in [*guesses.items()][:MOST_LABELS])
    fix = f"say what each means, as in {options}"
    if len(guesses) > MOST_LABELS:
        fix = (
            f"say what each means, all {len(guesses)} in one file: with --label @labels.toml it is written for you to fill in where it is not "
            f"there, a line each, as labels stand under [data.labels] of a recipe, such as {as_lines(guesses)[0]}"
        )
    gaps = [one for one in unknown if spelled(one) in NO_LABEL or (one == "-1" and len(unknown) == 1)]
    if gaps:
        fix = f"take the rows with {few(gaps)} out where that stands for no label; else {fix}"
    told = BadInput(
        f"labels in column {name!r} are not the model's",
        where=data,
        faults=[f"the rows have {few(unknown)}", f"the model has {few(known)}"],
        fix=f"{fix}; or which column is the label (--column {column}=NAME); or that none is, so that the "
        "original's own answers are what the bundle is compared with (--answers original)",
        see="labels-unknown-to-the-model",
    )
    choices = [] if gaps else what_labels_mean(unknown, [one for one in known if one not in used])
    return Unclear(
        f"what the labels in column {name!r} mean to the model is open", choices, told=told, labels=guesses, known=known
    )


def _shown_labels(labels: Mapping[str, str]) -> str:
    """The first of them."""
    shown = [f"{label}: {name}" for label, name in labels.items()]
    return ", ".join(shown[:MOST_LABELS]) + (f" and {len(shown) - MOST_LABELS} more" if len(shown) > MOST_LABELS else "")


def _not_read(chosen: Candidate, table: Table, group: str | None, known: Sequence[str]) -> list[Seen]:
    """The columns that the task takes nothing of, with what would have them read: each of texts, or of labels of the model (`known`), alone, all
    others together."""
    if not table:
        return []
    task, columns = chosen.task, chosen.fit.columns
    parts = (
        {} if chosen.form is None else chosen.form.find(table[0], {**{name: name for name in task.columns}, **columns}) or {}
    )
    there = there_in(table)
    left = {name: value for name, value in there.items() if name not in {*columns.values(), *parts.values(), group}}
    texts, said = text_columns(table, left)[:MOST_LABELS], []
    reads = [column for column in columns if column in INPUTS]
    for name in texts if chosen.form is None and reads and task.reads == "text" else ():
        beside = next((column for column in task.optional if column in INPUTS and column not in columns), None)
        why = f"has texts too, and {task.name} reads {' and '.join(repr(columns[column]) for column in reads)}; to have it read instead: "
        why += Choice(name, "", (("--column", reads[0], name),)).options
        if beside is not None:
            why += f"; as the second text of a pair: {Choice(name, '', (('--column', beside, name),)).options}"
        said.append(Seen("not read", name, why))
    column = next((column for column in columns if task.kinds.get(column, column) == "label"), "")
    for name in hold_labels(table, left, known)[:MOST_LABELS] if column and not chosen.finetune and task.named else ():
        why = f"holds labels of the model too, and {columns[column]!r} is read; to have it read instead: "
        said.append(Seen("not read", name, why + Choice(name, "", (("--column", column, name),)).options))
    if others := [name for name in left if not any(one.value == name for one in said)]:
        shown = ", ".join(others[:MOST_LABELS]) + (
            f" and {len(others) - MOST_LABELS} more" if len(others) > MOST_LABELS else ""
        )
        said.append(
            Seen(
                "not read",
                shown,
                f"{task.name} takes nothing of {'it' if len(others) == 1 else 'them'}; --column says otherwise",
            )
        )
    return said


def _without_answers(chosen: Candidate, table: Table, known: Sequence[str] | None, asked: Asked) -> Seen:
    """That the original says what is right, and which columns were looked at for labels."""
    if asked.answers == "original":
        return Seen("data.answers", "original", f"as you said: quality is {AGREEMENT}")
    free = {name: row[name] for row in table[:1] for name in row if name not in chosen.fit.columns.values()}
    others = [f"{name} ({few_values(row.get(name) for row in table)})" for name in categories(table, free)[:2]]
    names = f"the model's labels ({few(known[:3])}{', …' * (len(known) > 3)})" if known and chosen.task.named else "an answer"
    why = f"no column holds {names}" + (f"; nor {' nor '.join(others)}" if others else "")
    return Seen("data.answers", "original", f"{why}: quality is {AGREEMENT}")


def _one(found: list[Candidate], asked: Asked) -> Candidate:
    if len(found) == 1:
        return found[0]
    choices = [
        Choice(
            one.task.name,
            one.task.title + (f", of {_shown(one.fit.columns)}" if one.fit.columns else ""),
            (("--task", "", one.task.name),),
        )
        for one in found
    ]
    raise Unclear(
        f"{asked.model}{f' and {Path(asked.data).name}' if asked.data is not None else ''} fit several tasks", choices
    )


def _shown(columns: Mapping[str, str]) -> str:
    return ", ".join(column if column == name else f"{column} ({name!r})" for column, name in columns.items())


def _toml(
    asked: Asked,
    rows: Rows | None,
    chosen: Candidate,
    labels: Mapping[str, str],
    length: int | None,
    steps: list[dict[str, JsonValue]],
    folder: Path | None,
    of_splits: str | None,
) -> str:
    """The recipe as a file."""
    lines = [
        "schema = 1",
        f"task = {json.dumps(chosen.task.name)}",
        "",
        "[model]",
        *_model(asked.model, folder),
    ]
    lines += [f"max_length = {length}"] if length is not None else []
    lines += ["", "[model.finetune]", "# A new head, trained on the rows."] if chosen.finetune else []
    lines += ["", "[data]"]
    lines += [f"builtin = {toml_string(TEXTS)}"] if rows is None else _sources(rows, folder)
    renamed = {column: name for column, name in chosen.fit.columns.items() if column != name}
    if renamed:
        lines.append("columns = { " + ", ".join(f"{column} = {toml_string(name)}" for column, name in renamed.items()) + " }")
    if 0 < len(labels) <= IN_A_LINE:
        lines.append(as_table("labels", labels))
    if chosen.answers == "original":
        lines.append('answers = "original"')
    if asked.group is not None:
        lines.append(f"split = {{ group = {toml_string(asked.group)} }}")
    if of_splits is not None:
        names = f", {as_table('names', asked.splits)}" if asked.splits else ""
        lines.append(f"split = {{ column = {toml_string(of_splits)}{names} }}")
    if len(labels) > IN_A_LINE:
        lines += ["", "[data.labels]", *as_lines(labels)]
    for step in steps:
        lines += ["", "[[compress]]", *(f"{name} = {json.dumps(value)}" for name, value in step.items())]
    if asked.format is not None:
        numbers = {"format": asked.format, **FORMATS[asked.format][0]}
        lines += ["", "[quantize]", *(f"{name} = {json.dumps(value)}" for name, value in numbers.items())]
    budget = {"max_quality_drop": asked.budget.lose, "min_speedup": asked.budget.faster, "max_size_mb": asked.budget.smaller}
    bounds = [f"{name} = {value}" for name, value in budget.items() if value is not None]
    lines += ["", "[accept]", *bounds] if bounds else []
    return _signed("\n".join(lines) + "\n")


def _sources(rows: Rows, folder: Path | None) -> list[str]:
    """The lines of [data] that say where rows lie."""
    lines = []
    for key, place in rows.places.items():
        path = toml_string(_near(place.path, folder))
        more = "".join(f", {name} = {json.dumps(value, ensure_ascii=False)}" for name, value in place.more.items())
        lines.append(f"{key} = {{ path = {path}{more} }}" if more else f"{key} = {path}")
    return lines


def _signed(text: str) -> str:
    """`text` under a line that says by its sha256 whether anybody has edited it since."""
    return f"{HEAD}{hashlib.sha256(text.encode()).hexdigest()[:16]}\n{text}"


def is_unedited(text: str) -> bool:
    """Whether `text` is a draft as it was written."""
    head, _, rest = text.partition("\n")
    return head.startswith(HEAD) and text == _signed(rest)


def told_apart(there: str, made: Draft, folder: Path) -> list[str]:
    """How the draft `there`, a file in `folder` as `made` is to be, differs from it in the model, the rows or the task; none where they are of
    one line whose other options, or the files of whose folder of rows, may have changed."""
    (one, sources), (other, _) = (_asked_in(text, folder) for text in (there, made.text))
    differ = [name for name in one if one[name] != other[name]]
    if made.data is not None and Path(made.data).is_dir() and all(_lies_in(Path(made.data), folder / one) for one in sources):
        differ = [name for name in differ if name != "rows"]
    return [f"{name}: there {one[name]}, here {other[name]}" for name in differ]


def _asked_in(text: str, folder: Path) -> tuple[dict[str, str], list[str]]:
    """(what a draft is of: model, rows and task, for people; its sources of rows), with paths as a draft in `folder` has them."""
    read = tomllib.loads(text)
    model, data = read["model"], read["data"]
    rows = [data[key] for key in ("builtin", "file", *SPLITS) if key in data]
    sources = [*dict.fromkeys(_seen_from(folder, str(one["path"] if isinstance(one, dict) else one)) for one in rows)]
    return {
        "model": "@".join([_seen_from(folder, model["id"]), *([model["revision"]] if "revision" in model else [])]),
        "rows": ", ".join(sources),
        "task": str(read["task"]),
    }, sources


def _seen_from(folder: Path, written: str) -> str:
    """What a draft in `folder` calls a path that a draft there, or one that holds anywhere, has `written`; anything else as it is."""
    whole = str(folder / written)
    near = _near(whole, folder)
    return written if near == whole else near


def _lies_in(home: Path, source: Path) -> bool:
    """Whether a folder of rows may have given the source, a path or pattern: in it, in its folders of labels or splits, or in data/ there."""
    root = os.path.realpath(home)
    parts = Path(os.path.relpath(os.path.realpath(source), root)).parts
    within = len(parts) == 1 or parts[0] in ("*", "data") or any(words.match(parts[0]) for words in NAMED.values())
    return parts[0] != ".." and within


def _workload(model: Path, rows: Rows | None, columns: Mapping[str, str], task: Task) -> Workload:
    """What has to be computed, by the weights' headers and by words of the rows, of which a token is about three quarters, or by the positions
    of an image or a sound."""
    shapes = {
        name: shape for name, shape in tensor_shapes(model).items() if task.reads == "text" or not name.startswith(TEXT_TOWER)
    }
    weights = {name: math.prod(shape) for name, shape in shapes.items()}
    inner = sum(size for name, size in weights.items() if "embedding" not in name)
    megabytes = 4 * sum(weights.values()) / 1e6
    if rows is None:
        texts = [text["text"] for text in every_text()]
        return Workload(0, _tokens(texts), inner, megabytes, scored=len(texts))
    if task.reads != "text":
        read = {"image": positions_read, "sound": frames_read}[task.reads]
        positions = read(read_json(model / "config.json")) or A_SECOND
        return Workload(rows.trained, positions, inner, megabytes, scored=rows.tested)
    tokens = _tokens([" ".join(as_text(row.get(name)) for name in columns.values() or row) for row in rows.looked_at])
    return Workload(rows.trained, tokens, inner, megabytes, scored=rows.tested)


def _tokens(texts: Sequence[str]) -> float:
    """Of a text, on average."""
    return sum(len(text.split()) for text in texts) / len(texts) / WORDS


def _model(name: str, folder: Path | None) -> list[str]:
    """The lines of [model] that say which it is."""
    if Path(name).exists():
        return [f"id = {toml_string(_near(name, folder))}"]
    hub_id, mark, revision = name.partition("@")
    return [f"id = {toml_string(hub_id)}", *([f"revision = {toml_string(revision)}"] if mark else [])]


def _near(name: str, folder: Path | None) -> str:
    """A path as seen from `folder` where it lies near, else from the root; a hub id stays."""
    path = Path(name)
    pattern = "*" in path.name and (path.parent.is_dir() or ("*" in path.parent.name and path.parent.parent.is_dir()))
    if not path.exists() and not pattern:
        return name
    if folder is None:
        return os.path.realpath(path)
    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    return os.path.realpath(path) if relative.startswith("../../..") else relative


def _check(text: str) -> None:
    """The recipe is one that the parser takes: a fault here is a fault of what the user said."""
    parse(tomllib.loads(text), recipe_model(), where="the drafted recipe", text=text)
