"""Three splits, checked, hashed and proven disjoint, as one artifact."""

from __future__ import annotations

import difflib
import hashlib
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.data.hub import HUB, read_hub
from edgekit.data.rows import read_rows
from edgekit.errors import BadInput

__all__ = ["SPLITS", "labels_known", "prepare", "proof_disjoint", "source_digest"]

SPLITS = ("train", "validation", "test")


def source_digest(asked: dict[str, Any]) -> str:
    """sha256 over what is asked for and the contents of every file in it; taken before anything runs.

    Raises:
        BadInput: a file that is not there.
    """
    total = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    if "builtin" in asked:
        from edgekit.data.intents import VERSION

        total.update(str(VERSION).encode())
        return total.hexdigest()
    missing = [asked[split] for split in SPLITS if not asked[split].startswith(HUB) and not Path(asked[split]).is_file()]
    if missing:
        raise BadInput("no such data file" + "s" * (len(missing) > 1), faults=missing, where="data", fix="check the paths under [data]")
    for split in SPLITS:
        if not asked[split].startswith(HUB):
            with Path(asked[split]).open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def prepare(asked: dict[str, Any], columns: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Read the three splits of `asked` into `folder` as JSON lines with a record, `data.json`, which is returned.

    Doubles inside the training split are dropped; training rows that also stand in validation or test are dropped
    too, or refused with `on_overlap = "refuse"`. Both are counted in the record.

    Raises:
        BadInput: rows that cannot be used, splits that are empty or of one row, labels that training never shows.
    """
    read = _read(asked, columns)
    for split, rows in read.items():
        if len(rows) < 2:
            raise BadInput(f"the {split} split has {len(rows)} row; it needs at least two", where="data")
    removed = {"double_in_train": 0, "train_in_evaluation": 0}
    evaluated = {_fold(row["text"]) for split in ("validation", "test") for row in read[split]}
    overlap = [row for row in read["train"] if _fold(row["text"]) in evaluated]
    if overlap and asked.get("on_overlap", "drop") == "refuse":
        raise _overlap_fault("training", "evaluation", overlap)
    kept, seen = [], set()
    for row in read["train"]:
        folded = _fold(row["text"])
        if folded in evaluated:
            removed["train_in_evaluation"] += 1
        elif folded in seen:
            removed["double_in_train"] += 1
        else:
            seen.add(folded)
            kept.append(row)
    if len(kept) < 2:
        raise BadInput("every training row also stands in validation or test", where="data")
    read["train"] = kept
    record: dict[str, Any] = {"source": _without_paths(asked), "columns": list(columns), "splits": {}, "removed": removed}
    if "label" in columns:
        record["labels"] = sorted({row["label"] for row in kept})
        for split in ("validation", "test"):
            labels_known({row["label"] for row in read[split]}, record["labels"], where=f"data, {split}")
    for split, rows in read.items():
        lines = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        record["splits"][split] = {"rows": len(rows), "sha256": hashlib.sha256(lines.encode()).hexdigest()}
    (folder / "data.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return record


def proof_disjoint(one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], names: tuple[str, str] = ("calibration", "evaluation")) -> None:
    """Raise BadInput with examples where a text stands in both, case, width and white space aside."""
    known = {_fold(row["text"]) for row in other}
    both = [row for row in one if _fold(row["text"]) in known]
    if both:
        raise _overlap_fault(*names, both)


def labels_known(found: set[str], known: Sequence[str], *, where: str) -> None:
    """Raise BadInput with the labels of `found` that are not `known`, each with the nearest known one."""
    strange = sorted(found - set(known))
    if strange:
        nearest = {label: difflib.get_close_matches(label, known, n=1) for label in strange[:10]}
        raise BadInput(
            f"{len(strange)} labels that are not known",
            where=where,
            faults=[f"{label!r}" + (f", perhaps {close[0]!r}" if close else "") for label, close in nearest.items()],
        )


def _read(asked: dict[str, Any], columns: tuple[str, ...]) -> dict[str, list[dict[str, str]]]:
    if "builtin" in asked:
        from edgekit.data.intents import generate

        if asked["builtin"] != "intents":
            raise BadInput(f"no built-in corpus {asked['builtin']!r}", where="data, builtin", fix="known: intents")
        return generate(asked["seed"], asked.get("rows", 12_000))
    rename = asked.get("columns", {})
    return {
        split: read_hub(asked[split], split, columns, rename)
        if asked[split].startswith(HUB)
        else read_rows(Path(asked[split]), columns, rename)
        for split in SPLITS
    }


def _without_paths(asked: dict[str, Any]) -> dict[str, Any]:
    """What was asked, with file names but not the folders of the machine it ran on."""
    return {key: Path(value).name if key in SPLITS and not value.startswith(HUB) else value for key, value in asked.items()}


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _overlap_fault(one: str, other: str, rows: Sequence[dict[str, Any]]) -> BadInput:
    return BadInput(
        f"{len(rows)} {one} rows also stand among the {other} rows", where="data", faults=[repr(row["text"][:80]) for row in rows[:5]]
    )
