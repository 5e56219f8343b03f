"""Three splits, checked, deduplicated and hashed, as one artifact: JSON lines and a record of what was done."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

from edgekit.config.recipe import TEXTS, Split
from edgekit.data.columns import NAMES, identity, usable_value
from edgekit.data.disjoint import check_disjoint, fold, overlap, overlap_fault
from edgekit.data.doubts import answer_of, counted, doubt, doubts_of
from edgekit.data.form import Form
from edgekit.data.formats import notes_on, quickly_read, records
from edgekit.data.forms import form_of
from edgekit.data.hub import parse_hub, read_hub
from edgekit.data.label_map import by_number, doubtful_labels, made_one, renamed_labels, told
from edgekit.data.labels import as_table, check_labels, few
from edgekit.data.partition import as_named, partition
from edgekit.data.parts import left_aside
from edgekit.data.reading import most_unpacked
from edgekit.data.rows import MOST_FAULTS, OF_SPLITS, Row, RowCheck, read_rows
from edgekit.data.sources import LEFT_OUT, SPLITS, Place, Sources
from edgekit.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.runtime.files import open_file
from edgekit.runtime.jsontypes import JsonValue
from edgekit.runtime.outputs import write_atomically
from edgekit.runtime.tags import scheme_fault

__all__ = [
    "RECORD", "SPLITS", "VERSION", "columns_there", "check_labels", "forms_there", "look", "prepare", "check_disjoint", "source_digest",
    "contents_digest",
]  # fmt: skip

VERSION = 6
"""Raise it when the same source would give other rows: it is part of `source_digest`."""
UNLABELLED = "unlabelled"
"""More text for distillation: rows of one `text` each."""
RECORD = "data.json"
FEWEST = 2
NAMED = ("label", "labels", "tags")
"""Kinds of columns that hold names of labels."""
CORPORA = {"intents": "edgekit.data.intents", "python-reference": "edgekit.data.reference", TEXTS: "edgekit.data.texts"}


def source_digest(sources: Sources) -> str:
    """sha256 over the settings and the contents of the sources; taken when the plan is made.

    Files count by name and contents, not by folder, so that a moved checkout keeps its cache. A built-in corpus counts by
    its version and settings, a hub data set by name, revision and config.

    Raises:
        BadInput: files that are not there, a malformed hub name, or an unknown corpus; all of them at once.
    """
    total = hashlib.sha256(json.dumps([VERSION, sources.document()], sort_keys=True).encode())
    if sources.builtin:
        total.update(_corpus(sources.builtin).VERSION.encode())
        return total.hexdigest()
    files = [place for place in sources.every() if not place.on_hub]
    for place in sources.splits():
        if place.on_hub:
            parse_hub(place.name)
    missing = [str(path) for place in files for path in place.files if not path.is_file()]
    if missing:
        raise BadInput(
            "no such data file" + "s" * (len(missing) > 1),
            where="data",
            faults=missing,
            fix="check the paths under [data]",
            see="no-such-data-file",
        )
    for place in {place.name or place.sha256: place for place in files}.values():
        total.update(_contents(place))
    return total.hexdigest()


def contents_digest(path: str) -> str:
    """sha256 of the file at `path`; of several that it names by a pattern, over those of all.

    Raises:
        BadInput: a pattern that no file matches, or a file that cannot be read.
    """
    found = _contents(Place(path))
    return found.hex() if len(found) == hashlib.sha256().digest_size else hashlib.sha256(found).hexdigest()


def _contents(place: Place) -> bytes:
    """sha256 of a file; of a public one that is not here yet, what the recipe says it is.

    Raises:
        CheckFailed: the recipe says another.
    """
    if not place.here:
        return bytes.fromhex(place.sha256)
    if place.files != [Path(place.name)]:  # a pattern
        return b"".join(_contents(replace(place, name=str(path))) for path in place.files)
    most_unpacked(Path(place.name))
    with open_file(place.name) as file:
        found = hashlib.file_digest(file, "sha256")
    if place.sha256 and not place.stands_in and found.hexdigest() != place.sha256:
        raise CheckFailed(
            f"has sha256 {found.hexdigest()}, where the recipe says {place.sha256}", where=place.name,
            fix="get the file that the recipe means, or, where this one is right, correct its sha256",
        )  # fmt: skip
    return found.digest()


def columns_there(sources: Sources, columns: tuple[str, ...], optional: tuple[str, ...]) -> tuple[str, ...]:
    """`columns`, and those of `optional` that the recipe names or that the first sound row of a local split has.

    All rows must have these then. A file that cannot be read adds none: the stage that reads it says what is wrong with it.
    """
    names = set(sources.columns)
    for place in sources.splits():
        if optional and place.here:
            with contextlib.suppress(BadInput):
                found = records(place.files[0], columns=(), shape=place.shape)
                names |= set(next((record.values for record in found if record.fault is None), {}))
    return (*columns, *(column for column in optional if column in names))


def forms_there(sources: Sources, columns: tuple[str, ...]) -> dict[str, Form]:
    """Title of a local source of a split -> the form that its first sound row is in, where it is in one."""
    found = {}
    names = {column: sources.columns.get(column, column) for column in columns}
    for place in sources.splits():
        if place.here:
            with contextlib.suppress(BadInput):
                every = records(place.files[0], lines=sources.lines, shape=place.shape)
                first = next((record.values for record in every if record.fault is None), {})
                if (form := form_of(first, names)) is not None:
                    found[place.title] = form[0]
    return found


def prepare(
    sources: Sources,
    columns: tuple[str, ...],
    folder: Path,
    absent: tuple[str, ...] = (),
    kinds: Mapping[str, str] = MappingProxyType({}),
    known: Sequence[str] | None = None,
    check: RowCheck | None = None,
) -> dict[str, JsonValue]:
    """Read the three splits of `sources` into the empty `folder` as `<split>.jsonl`; returns the record, which is written last.

    Of duplicate training rows the first is kept. Training rows whose text is also in validation or test are dropped too, or
    refused where `sources.on_overlap` is "refuse". Texts are compared after `fold`. Evaluation rows are never touched, but for labels
    that become names of the model's outputs. The same source gives the same bytes. The record's `notes` are what people are told;
    its `doubts` are those of them that make figures doubtful: rows that stand in two splits, or under two labels.

    `absent`: columns of the task that these rows are without, and that none of them may have. `kinds`: column -> the kind of its values,
    where its name does not say it. `known`: names of the outputs of the recipe's model; None where the training rows name them. `check`: what is
    wrong with a row for that model.

    Raises:
        BadInput: rows that cannot be used, splits that are empty or of one row, overlap, labels that the model does not know, or that
            no training row has.
    """
    read, record = _checked(sources, columns, absent, kinds, known, check)
    written = {split: _write(folder, split, read[split], sort_keys=True) for split in SPLITS}
    if read[UNLABELLED]:
        written[UNLABELLED] = _write(folder, UNLABELLED, read[UNLABELLED], sort_keys=False)
    record["splits"] = written
    write_atomically(folder / RECORD, json.dumps(record, ensure_ascii=False, indent=1, sort_keys=True) + "\n")
    return record


def look(
    sources: Sources,
    columns: tuple[str, ...],
    absent: tuple[str, ...],
    kinds: Mapping[str, str],
    known: Sequence[str] | None,
    check: RowCheck | None = None,
) -> list[str] | None:
    """What `prepare` would say of local files that are quickly read (their `notes`), which nothing is made of; None of others.

    Raises:
        BadInput: as `prepare`.
    """
    places = sources.every()
    if sources.builtin or not all(place.here for place in places):
        return None
    if check is None and any(form.conversations for form in forms_there(sources, columns).values()):
        return None  # what writes them is not here yet
    if not quickly_read(dict.fromkeys(path for place in places for path in place.files)):
        return None
    _, record = _checked(sources, columns, absent, kinds, known, check)
    return list(map(str, cast("list[str]", record["notes"])))


def _checked(
    sources: Sources,
    columns: tuple[str, ...],
    absent: tuple[str, ...],
    kinds: Mapping[str, str],
    known: Sequence[str] | None,
    check: RowCheck | None,
) -> tuple[dict[str, list[Row]], dict[str, JsonValue]]:
    """(rows of every split and the unlabelled ones, the record but for what is written); raises as `prepare` does."""
    read, doubts = _read(sources, columns, absent, kinds, check)
    for split in SPLITS:
        _check_size(split, len(read[split]))
    notes, named = (
        _notes(sources, columns),
        next((column for column in ("label", "tags") if column in columns and kinds.get(column, column) in NAMED), None),
    )
    if check is not None and check.told is not None:
        doubts += check.told([row for split in SPLITS for row in read[split]])
    said: JsonValue = {}
    if named is not None:
        every = Counter(label for split in SPLITS for row in read[split] for label in _labels(row[named]))
        renamed = renamed_labels(every, sources.labels, known)
        doubts += made_one(every, renamed)
        said = {one.label: one.name for one in renamed}
        notes += told(renamed)
        for row in (row for split in SPLITS for row in read[split]):
            row[named] = _renamed(row[named], {one.label: one.name for one in renamed}, once=kinds.get(named) == "labels")
        if known is None:
            doubts += doubtful_labels([label for row in read["train"] for label in _labels(row[named])])
        if kinds.get(named) == "labels":
            _check_some_apply([_labels(row[named]) for split in SPLITS for row in read[split]], known)
    elif sources.labels:
        raise BadInput("rows of this task have no labels", where="data, labels", fix="leave the table out")
    if "candidate" in kinds.values():
        candidates: list[JsonValue] = [*sorted({str(row["label"]) for split in SPLITS for row in read[split]})]
        for split in SPLITS:
            for number, row in enumerate(read[split], 1):
                row["labels"] = candidates
                if check is not None and (fault := check.fault(row)) is not None:  # with the labels of other rows
                    raise BadInput(fault, where=f"data, {split}, row {number}")
    unlabelled = _unlabelled(sources, read)
    folded = {split: [fold(identity(row)) for row in read[split]] for split in ("validation", "test")}
    train, removed = _clean_training(read, folded, refuse=sources.on_overlap == "refuse")
    doubts += doubts_of(read, folded, removed, labelled=named is not None)
    _check_size("train", len(train), "once duplicates and rows of the other splits are gone", doubts)
    notes += doubts
    if removed["train"]:
        notes += [
            f"{counted(removed['train'], read['train'], 'train')} were taken out because an earlier row of train is the same"
        ]
    read |= {"train": train, UNLABELLED: unlabelled}
    record: dict[str, JsonValue] = {"source": sources.document(), "columns": list(columns), "duplicates_removed": removed}
    if named is not None:
        there = sorted({label for row in train for label in _labels(row[named])})
        record["labels"] = list(there)
        if len(there) == 1:
            notes += [_one_label(there[0], known, named)]
        if named == "tags" and (fault := scheme_fault(there)):
            raise BadInput(fault, where="data, tags")
        for split in ("validation", "test") if known is None else SPLITS:
            labels = [_labels(row[named]) for row in read[split]]
            if known is None:
                check_labels(labels, there, where=f"data, {split}", known_to="the training split")
            else:
                of_split = [label for several in labels for label in several]
                check_labels(labels, known, where=f"data, {split}", fix=_say_labels(of_split, known, sources.labels))
    record |= {"notes": list(notes), "doubts": list(doubts)} | ({"labels_read_as": said} if said else {})
    return read, record


def _check_some_apply(rows: Sequence[Sequence[str]], known: Sequence[str] | None) -> None:
    """Raises BadInput where every row has all labels that there are: [1, 0], a 0 or 1 for each of two labels, reads as the labels 1 and 0."""
    every = {label for labels in rows for label in labels} if known is None else set(known)
    if len(every) > 1 and all(set(labels) == every for labels in rows):
        raise BadInput(
            f"every row has all labels, {few(sorted(every))}, as rows with a 0 or 1 for each label are read",
            where="data, label",
            fix=NAMES,
        )


def _one_label(label: str, known: Sequence[str] | None, named: str) -> str:
    """What is said of rows that have one label alone.

    Raises:
        BadInput: a head is to be trained on them.
    """
    if known is None:
        raise BadInput(
            f"all training rows have the {named.removesuffix('s')} {label!r}, and a head learns to tell several apart",
            where="data, train",
            fix="give rows of other labels too, or name the column of labels that is meant (--column label=NAME)",
        )
    return f"all rows to train on have the label {label!r}: quality tells little, as who always says it is right"


def _say_labels(labels: Sequence[str], known: Sequence[str], said: Mapping[str, str]) -> str:
    """How to mend labels of which some are not `known`: what numbers mean as numbers of outputs, and of names nothing that nobody said."""
    unknown = sorted(set(labels) - set(known))
    meant = by_number(unknown, known)
    if meant is not None:
        shown = as_table("labels", {**said, **meant})
        return f"where they are the numbers of the model's outputs, write {shown} in [data]; else correct them, or train a new head (finetune)"
    shown = as_table("labels", {**said, unknown[0]: "NAME"})
    return (
        f"say what each of {few(unknown)} means, as {shown} in [data], with one of the model's {few(known)} for NAME, correct them, or train "
        "a new head (finetune)"
    )


def _renamed(value: JsonValue, names: Mapping[str, str], *, once: bool = False) -> JsonValue:
    """A label, or each of a list, by its name. `once`: a name that several of them have applies once."""
    if isinstance(value, list):
        by_name = [_renamed(label, names) for label in value]
        return [*dict.fromkeys(map(str, by_name))] if once else by_name
    return names.get(str(value), value)


def _notes(sources: Sources, columns: tuple[str, ...]) -> list[str]:
    """How the files are read, where it had to be found out."""
    if sources.builtin:
        return []
    places = [place for place in sources.every() if place.here]
    told = [f"{place.title}: {note}" for place in places for path in place.files for note in notes_on(path, place.shape)]
    read = {path for place in places for path in place.files}
    told += [f"{Path(place.name).parent.parent.name}: {note}" for place in places for note in left_aside(place.name, read)]
    told += [f"{title}: {form.title}" for title, form in forms_there(sources, columns).items()]
    return list(dict.fromkeys([*(f"{place.title}: {place.stands_in}" for place in places if place.stands_in), *told]))


def _write(folder: Path, split: str, rows: Sequence[Row], *, sort_keys: bool) -> dict[str, JsonValue]:
    """Write the rows of `split` as JSON lines; returns how many there are and the file's sha256."""
    lines = "".join(json.dumps(row, ensure_ascii=False, sort_keys=sort_keys) + "\n" for row in rows)
    write_atomically(folder / f"{split}.jsonl", lines)
    return {"rows": len(rows), "sha256": hashlib.sha256(lines.encode()).hexdigest()}


def _read(
    sources: Sources, columns: tuple[str, ...], absent: tuple[str, ...], kinds: Mapping[str, str], check: RowCheck | None
) -> tuple[dict[str, list[Row]], list[str]]:
    """(the rows of each split, what is told of those that were left out)."""
    if sources.builtin:
        made = _corpus(sources.builtin).generate(sources.seed, sources.rows)
        return {split: [_of_text(row, columns, kinds) for row in rows] for split, rows in made.items()}, []
    names = dict(sources.columns)
    if sources.split is not None:
        drawn = _partitioned(sources, sources.split, columns, absent, kinds, check)
        none, every = drawn.pop(LEFT_OUT, []), sum(map(len, drawn.values()))
        of_none = [f"{len(none):,} of {len(none) + every:,} rows are left out: they are of no split"] if none else []
        if len(drawn) == len(SPLITS):
            return drawn, of_none
        if sources.file is not None:  # a column names two of three
            (given,) = set(drawn) - {"train"}
            there = drawn[given]
            drawn = partition(drawn["train"], sources.split, sources.seed, without=[given])
        else:
            (given,) = set(SPLITS) - set(drawn)
            place = sources.of(given)
            assert place is not None, "the recipe names two of three"
            there = _rows_at(place, given, columns, names, absent, kinds, check, lines=sources.lines)
        known = {fold(identity(row)) for row in there}
        other = next(split for split in drawn if split != "train")
        kept = [row for row in drawn[other] if fold(identity(row)) not in known]
        left = doubt(len(drawn[other]) - len(kept), drawn[other], other, f"were taken out because they stand in {given} too")
        return {**drawn, other: kept, given: there}, [*of_none, *left]
    return {
        split: _rows_at(place, split, columns, names, absent, kinds, check, lines=sources.lines)
        for split, place in ((split, sources.of(split)) for split in SPLITS)
        if place is not None
    }, []


def _rows_at(
    place: Place, split: str, columns: tuple[str, ...], names: dict[str, str], absent: tuple[str, ...] = (),
    kinds: Mapping[str, str] = MappingProxyType({}), check: RowCheck | None = None, *, lines: bool,
) -> list[Row]:  # fmt: skip
    """The rows of a file, or of `split` of a hub data set."""
    if not place.name:
        raise NotPossibleHere(
            "not on this machine, and not fetched before the run",
            where=place.url,
            fix="run it by edgekit export, which fetches it",
        )
    if place.on_hub:
        return read_hub(place.name, split, columns, names, absent, kinds, check)
    rows, wrong = list[Row](), list[BadInput]()
    for path in place.files:
        try:
            rows += read_rows(path, columns, names, absent, kinds, check, lines=lines, shape=place.shape)
        except BadInput as fault:
            wrong.append(fault)
    if len(wrong) > 1:  # as of images, of which each is a file
        shown = [f"{os.path.relpath(str(fault.where), _home(place.name))}: {fault.what}" for fault in wrong[:MOST_FAULTS]]
        more = [f"and {len(wrong) - MOST_FAULTS:,} more"] if len(wrong) > MOST_FAULTS else []
        raise BadInput(
            f"{len(wrong):,} of {len(place.files):,} files cannot be used",
            where=place.name,
            faults=[*shown, *more],
            fix=wrong[0].fix,
        )
    if wrong:
        raise wrong[0]
    return rows


def _home(pattern: str) -> str:
    """The folder that a pattern is of."""
    return next(str(folder) for folder in Path(pattern).parents if "*" not in str(folder))


def _of_text(row: Row, columns: tuple[str, ...], kinds: Mapping[str, str]) -> Row:
    """A row of a text alone, with the text as what `columns` ask for; any other as it is."""
    if set(row) != {"text"} or len(columns) != 1:
        return row
    (column,) = columns
    return {column: usable_value(kinds.get(column, column), row["text"])[0]}


def _partitioned(
    sources: Sources,
    split: Split,
    columns: tuple[str, ...],
    absent: tuple[str, ...],
    kinds: Mapping[str, str],
    check: RowCheck | None,
) -> dict[str, list[Row]]:
    """The rows of one file, split, or as a column names two or three splits, or the training rows and the split that is drawn from them. A
    column of groups or of splits is read beside those of the task, and left out of the rows."""
    names = dict(sources.columns)
    said = {one: name for one in OF_SPLITS if (name := getattr(split, one)) is not None}
    columns, names, kinds = (*columns, *said), {**names, **said}, {**kinds, **dict.fromkeys(said, "label")}
    place = sources.file or sources.train
    assert place is not None, "what is split is a file"
    rows = _rows_at(place, "train", columns, names, absent, kinds, check, lines=sources.lines)
    if split.column is not None:
        return as_named(rows, [str(row.pop("column")) for row in rows], split.column, split.names or {})
    groups = None if split.group is None else [str(row.pop("group")) for row in rows]
    given = [name for name in ("validation", "test") if sources.file is None and sources.of(name) is not None]
    return partition(rows, split, sources.seed, groups, without=given)


def _unlabelled(sources: Sources, read: dict[str, list[Row]]) -> list[Row]:
    """Unlabelled rows, each text once, without those that are in validation or test."""
    rows: list[Row] = []
    for place in sources.unlabelled:
        names = {**sources.columns, **({"text": place.column} if place.column else {})}
        rows += _rows_at(place, "train", ("text",), names, lines=sources.lines)
    known = {fold(identity(row)) for split in ("validation", "test") for row in read[split]}
    once = {fold(identity(row)): row for row in rows}
    return [row for text, row in once.items() if text not in known]


def _clean_training(
    read: dict[str, list[Row]], folded: Mapping[str, Sequence[str]], *, refuse: bool
) -> tuple[list[Row], dict[str, int]]:
    """Training rows without duplicates and without rows of the other splits, whose inputs are `folded`; how many were removed, and why."""
    removed = {"train": 0, "train_other_label": 0, "train_in_validation": 0, "train_in_test": 0}
    evaluated = {split: set(texts) for split, texts in folded.items()}
    for split in evaluated if refuse else ():
        if shared := overlap(read["train"], read[split]):
            raise overlap_fault(shared, ("train", split), fix='remove them, or set on_overlap = "drop"')
    kept: list[Row] = []
    first: dict[str, Row] = {}
    for row in read["train"]:
        text = fold(identity(row))
        if text in evaluated["test"]:
            removed["train_in_test"] += 1
        elif text in evaluated["validation"]:
            removed["train_in_validation"] += 1
        elif text in first:
            removed["train" if first[text] == answer_of(row) else "train_other_label"] += 1
        else:
            first[text] = answer_of(row)
            kept.append(row)
    return kept, removed


def _labels(value: JsonValue) -> list[str]:
    """The label, or the tags, of a row."""
    return list(map(str, value)) if isinstance(value, list) else [str(value)]


def _check_size(split: str, rows: int, when: str = "", faults: Sequence[str] = ()) -> None:
    if rows < FEWEST:
        count = "no rows" if rows == 0 else "one row"
        raise BadInput(
            f"the {split} split has {count}" + (f" {when}" if when else ""),
            where=f"data, {split}",
            faults=faults,
            fix=f"give it {FEWEST} rows or more",
        )


class _Corpus(Protocol):
    """The module of a built-in corpus."""

    VERSION: str
    """Changes when the same settings would give other rows."""

    def generate(self, seed: int, rows: int | None) -> dict[str, list[Row]]:
        """The three splits by name. `rows`: how many in all; None for as many as it has by itself."""
        ...


def _corpus(name: str) -> _Corpus:
    if name not in CORPORA:
        raise BadInput(f"no built-in corpus {name!r}", where="data, builtin", fix=f"known: {', '.join(CORPORA)}")
    return cast(_Corpus, importlib.import_module(CORPORA[name]))
