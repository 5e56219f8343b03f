"""Three splits, checked, deduplicated and hashed, as one artifact: JSON lines and a record of what was done."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

from edgekit.data.columns import INPUTS, identity
from edgekit.data.disjoint import fold, overlap, overlap_fault, proof_disjoint
from edgekit.data.formats import records
from edgekit.data.hub import HUB, parse_hub, read_hub
from edgekit.data.labels import labels_known
from edgekit.data.rows import read_rows
from edgekit.errors import BadInput
from edgekit.store import write_atomically

__all__ = ["RECORD", "ROWS", "SPLITS", "VERSION", "columns_there", "labels_known", "prepare", "proof_disjoint", "source_digest"]

VERSION = 1
"""Raise it when the same source would give other rows: it is part of `source_digest`."""
SPLITS = ("train", "validation", "test")
UNLABELLED = "unlabelled"
"""More text for distillation: rows of one `text` each."""
RECORD = "data.json"
ROWS = 12_000
"""Rows of a built-in corpus, where the recipe does not say."""
FEWEST = 2
CORPORA = {"intents": "edgekit.data.intents", "python-reference": "edgekit.data.reference"}


def source_digest(asked: dict[str, Any]) -> str:
    """sha256 over what is asked for and what lies behind it; taken when the plan is made.

    Files count by name and contents, not by folder, so that a moved checkout keeps its cache. A built-in corpus counts by
    its version and settings, a hub data set by name, revision and config.

    Raises:
        BadInput: files that are not there, a malformed hub name, or an unknown corpus; all of them at once.
    """
    total = hashlib.sha256(json.dumps([VERSION, _without_folders(asked)], sort_keys=True).encode())
    if "builtin" in asked:
        total.update(str(_corpus(asked["builtin"]).VERSION).encode())
        return total.hexdigest()
    more = [source for source, _ in _texts(asked)]
    files = [source for source in (*(asked[split] for split in SPLITS), *more) if not _on_hub(source)]
    for split in SPLITS:
        if _on_hub(asked[split]):
            parse_hub(asked[split])
    missing = [name for name in files if not Path(name).is_file()]
    if missing:
        raise BadInput(
            "no such data file" + "s" * (len(missing) > 1), where="data", faults=missing, fix="check the paths under [data]"
        )
    for name in files:
        try:
            with Path(name).open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as fault:
            raise BadInput(f"cannot be opened: {fault.strerror}", where=str(name)) from None
    return total.hexdigest()


def columns_there(asked: dict[str, Any], columns: tuple[str, ...], optional: tuple[str, ...]) -> tuple[str, ...]:
    """`columns`, and those of `optional` that the recipe names or that the first sound row of a local split has.

    All rows must have these then. A file that cannot be read adds none: the stage that reads it says what is wrong with it.
    """
    rename = asked.get("columns", {})
    there = set(rename)
    for split in SPLITS:
        if optional and split in asked and not _on_hub(asked[split]):
            with contextlib.suppress(BadInput):
                there |= set(next((record.values for record in records(Path(asked[split])) if record.fault is None), {}))
    return (*columns, *(column for column in optional if column in there))


def prepare(asked: dict[str, Any], columns: tuple[str, ...], folder: Path, absent: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read the three splits of `asked` into the empty `folder` as `<split>.jsonl`; returns the record, which is written last.

    `asked` is {"builtin": "intents", "seed": 7, "rows": 12000} or {"train": source, "validation": source, "test": source,
    "columns": {column: name there}}, where a source is a path or hub:owner/name. Training rows lose their doubles, of
    which the first is kept. Training rows whose text also stands in validation or test are dropped too, or refused with
    "on_overlap": "refuse". Texts are compared after `fold`. Evaluation rows are never touched. Same source, same bytes.

    `absent`: columns of the task that these rows are without, and that none of them may have.

    Raises:
        BadInput: rows that cannot be used, splits that are empty or of one row, overlap, labels that training never shows.
    """
    read = _read(asked, columns, absent)
    for split in SPLITS:
        _check_size(split, len(read[split]))
    unlabelled = _unlabelled(asked, read)
    train, removed = _clean_training(read, refuse=asked.get("on_overlap", "drop") == "refuse")
    _check_size("train", len(train), "once doubles and rows of the other splits are gone")
    read["train"] = train
    record: dict[str, Any] = {
        "source": _without_folders(asked),
        "columns": list(columns),
        "splits": {},
        "duplicates_removed": removed,
    }
    for column in ("label", "tags"):
        if column not in columns:
            continue
        record["labels"] = sorted({label for row in train for label in _labels(row[column])})
        for split in ("validation", "test"):
            given = [label for row in read[split] for label in _labels(row[column])]
            labels_known(given, record["labels"], where=f"data, {split}", known_to="the training split")
    for split in SPLITS:
        lines = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in read[split])
        write_atomically(folder / f"{split}.jsonl", lines)
        record["splits"][split] = {"rows": len(read[split]), "sha256": hashlib.sha256(lines.encode()).hexdigest()}
    if unlabelled:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in unlabelled)
        write_atomically(folder / f"{UNLABELLED}.jsonl", lines)
        record["splits"][UNLABELLED] = {"rows": len(unlabelled), "sha256": hashlib.sha256(lines.encode()).hexdigest()}
    write_atomically(folder / RECORD, json.dumps(record, ensure_ascii=False, indent=1, sort_keys=True) + "\n")
    return record


def _read(asked: dict[str, Any], columns: tuple[str, ...], absent: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    if "builtin" in asked:
        corpus = _corpus(asked["builtin"])
        rows = asked.get("rows", ROWS if asked["builtin"] == "intents" else None)
        made: dict[str, list[dict[str, Any]]] = corpus.generate(asked["seed"], rows)
        return made
    rename = asked.get("columns", {})
    return {
        split: read_hub(asked[split], split, columns, rename, absent)
        if _on_hub(asked[split])
        else read_rows(asked[split], columns, rename, absent)
        for split in SPLITS
    }


def _texts(asked: dict[str, Any]) -> list[tuple[str, str]]:
    """(source, name of its text column, or "") of each source of unlabelled text."""
    given = asked.get(UNLABELLED, [])
    parts = [source.rpartition("#") for source in ([given] if isinstance(given, str) else given)]
    return [(before, after) if mark else (after, "") for before, mark, after in parts]


def _unlabelled(asked: dict[str, Any], read: dict[str, list[dict[str, Any]]]) -> list[dict[str, str]]:
    """Unlabelled rows, each text once, without those that stand in validation or test."""
    rename = asked.get("columns", {})
    rows: list[dict[str, str]] = []
    for source, column in _texts(asked):
        names = {**rename, **({"text": column} if column else {})}
        rows += read_hub(source, "train", ("text",), names) if _on_hub(source) else read_rows(source, ("text",), names)
    known = {fold(identity(row)) for split in ("validation", "test") for row in read[split]}
    once = {fold(row["text"]): row for row in rows}
    return [row for text, row in once.items() if text not in known]


def _clean_training(read: dict[str, list[dict[str, Any]]], *, refuse: bool) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Training rows without doubles and without rows of the other splits; how many went, and why."""
    removed = {"train": 0, "train_other_label": 0, "train_in_validation": 0, "train_in_test": 0}
    elsewhere = {split: {fold(identity(row)) for row in read[split]} for split in ("validation", "test")}
    for split in elsewhere if refuse else ():
        if shared := overlap(read["train"], read[split]):
            raise overlap_fault(shared, ("train", split), fix='remove them, or set on_overlap = "drop"')
    kept: list[dict[str, Any]] = []
    first: dict[str, Any] = {}
    for row in read["train"]:
        text = fold(identity(row))
        if text in elsewhere["test"]:
            removed["train_in_test"] += 1
        elif text in elsewhere["validation"]:
            removed["train_in_validation"] += 1
        elif text in first:
            removed["train" if first[text] == _answer(row) else "train_other_label"] += 1
        else:
            first[text] = _answer(row)
            kept.append(row)
    return kept, removed


def _labels(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


def _answer(row: dict[str, Any]) -> Any:
    return {column: value for column, value in row.items() if column not in INPUTS}


def _check_size(split: str, rows: int, when: str = "") -> None:
    if rows < FEWEST:
        count = "no rows" if rows == 0 else "one row"
        raise BadInput(
            f"the {split} split has {count}" + (f" {when}" if when else ""),
            where=f"data, {split}",
            fix=f"give it {FEWEST} rows or more",
        )


def _corpus(name: str) -> Any:
    """The module of a built-in corpus: VERSION and generate(seed, rows)."""
    if name not in CORPORA:
        raise BadInput(f"no built-in corpus {name!r}", where="data, builtin", fix=f"known: {', '.join(CORPORA)}")
    return importlib.import_module(CORPORA[name])


def _on_hub(source: str) -> bool:
    return str(source).startswith(HUB)


def _without_folders(asked: dict[str, Any]) -> dict[str, Any]:
    """What was asked, with the names of files but not where they lie on this machine."""

    def bare(value: Any) -> Any:
        if isinstance(value, list):
            return [bare(item) for item in value]
        return value if _on_hub(value) else Path(value).name

    return {key: bare(value) if key in (*SPLITS, UNLABELLED) else value for key, value in asked.items()}
