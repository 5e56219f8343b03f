"""Schemes of tags."""

from __future__ import annotations

from collections.abc import Iterator

from tests.matrix.cells.cell import Cell, of_task

__all__ = ["tags"]


def tags() -> Iterator[Cell]:
    schemes = {
        "IO": ["O", "I-LOC", "I-PER"],
        "BIO": ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"],
        "IOE": ["O", "I-LOC", "E-LOC"],
        "BIOES": ["O", "B-LOC", "I-LOC", "E-LOC", "S-LOC"],
        "BILOU": ["O", "B-LOC", "I-LOC", "L-LOC", "U-LOC"],
        "BMES": ["O", "B-LOC", "M-LOC", "E-LOC", "S-LOC"],
        "lower case": ["O", "b-loc", "i-loc"],
        "underscore": ["O", "B_LOC", "I_LOC"],
        "suffix": ["O", "LOC-B", "LOC-I"],
        "parts of speech": ["NOUN", "VERB", "ADJ", "X"],
        "a kind with hyphens": ["O", "B-new-york", "I-new-york"],
    }
    for name, labels in schemes.items():
        for family in ("bert", "roberta", "xlm-roberta"):
            yield Cell(f"tags {name}, {family}", of_task(family, "token-classification", labels=labels))
    yield Cell(
        "tags of two schemes",
        of_task("bert", "token-classification", labels=["O", "B-LOC", "I-LOC", "LOC-B"]),
        refused="tags that cannot be read",
    )
    yield Cell(
        "tags without a kind",
        of_task("bert", "token-classification", labels=["O", "B", "I"]),
        refused="tags that cannot be read",
    )
