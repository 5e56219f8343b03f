"""What makes figures doubtful in the rows themselves: rows that stand in two splits, and the same input under two labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from edgekit.data.columns import inputs_of
from edgekit.data.rows import Row

__all__ = ["answer_of", "counted", "doubt", "doubts_of"]

MANY = 0.1
"""Share of the rows of a split from which on a warning is given."""
SAME = "are the same as another under another"


def doubts_of(
    read: Mapping[str, Sequence[Row]], folded: Mapping[str, Sequence[str]], removed: Mapping[str, int], *, labelled: bool
) -> list[str]:
    """What is told of the rows of the three splits, as they were read. `folded`: the inputs of validation and test rows, as they are
    compared; `removed`: how many were taken out of train, by reason; `labelled`: whether answers are names of labels."""
    train, answer = read["train"], "label" if labelled else "answer"
    told = doubt(removed["train_in_test"], train, "train", "were taken out because they stand in test too")
    told += doubt(removed["train_in_validation"], train, "train", "were taken out because they stand in validation too")
    told += doubt(
        removed["train_other_label"],
        train,
        "train",
        f"were taken out because an earlier row is the same under another {answer}",
    )
    tested = set(folded["test"])
    told += doubt(
        sum(text in tested for text in folded["validation"]), read["validation"], "validation",
        "stand in test too and were kept: what is chosen on validation rows is then chosen on test rows",
    )  # fmt: skip
    for split, texts in folded.items():
        answers: dict[str, set[str]] = {}
        for text, row in zip(texts, read[split], strict=True):
            answers.setdefault(text, set()).add(_comparable(row))
        several = sum(len(answers[text]) > 1 for text in texts)
        told += doubt(several, read[split], split, f"{SAME} {answer}" + (": no model is right on both" if labelled else ""))
    return told


def doubt(count: int, rows: Sequence[Row], split: str, what: str) -> list[str]:
    """What is told where `what` holds of `count` of the `rows` of `split`: nothing of none, and of many a warning."""
    if not count:
        return []
    return [("warning: " if count >= MANY * len(rows) else "") + f"{counted(count, rows, split)} {what}"]


def counted(count: int, rows: Sequence[Row], split: str) -> str:
    """`count` of the `rows` of `split`, in words."""
    return f"{count:,} of {len(rows):,} rows of {split}"


def answer_of(row: Row) -> Row:
    """The answer of a row: its columns that a model does not read."""
    inputs = inputs_of(row)
    return {column: value for column, value in row.items() if column not in inputs}


def _comparable(row: Row) -> str:
    """The answer of a row, equal where it says the same: several labels in any order, whatever the template."""
    answer = {column: value for column, value in answer_of(row).items() if column != "template"}
    if isinstance(several := answer.get("label"), list):
        answer["label"] = sorted(several, key=str)
    return json.dumps(answer, sort_keys=True)
