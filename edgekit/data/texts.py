"""The built-in corpus `texts`: some hundred texts of many kinds, languages and lengths, written for edgekit, without labels.

They set the ranges of activations, and are what a model is compared with its original on, where a user has no rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources

from edgekit.config.recipe import TEXTS
from edgekit.data.rows import Row
from edgekit.errors import BadInput

__all__ = ["FILE", "ROWS", "VERSION", "every_text", "generate", "quality_limit", "scored_rows"]

FILE = "texts.jsonl"
"""Beside this module: one object a line, with `kind`, `language` (ISO 639) and `text`."""
ROWS = "test rows"
"""What rows of a user's own are called."""
TURN = ("test", "train", "test", "train", "validation")
"""The splits that texts go to in turn, as they stand in the file, so that each split has its share of every kind."""


def _contents() -> bytes:
    return resources.files(__package__).joinpath(FILE).read_bytes()


VERSION = f"1-{hashlib.sha256(_contents()).hexdigest()[:16]}"


def every_text() -> list[dict[str, str]]:
    """`kind`, `language` and `text` of each, in the file's order."""
    return [json.loads(line) for line in _contents().decode("utf-8").splitlines()]


def generate(seed: int, rows: int | None) -> dict[str, list[Row]]:
    """The three splits, rows of one `text` each, the same for every seed.

    Raises:
        BadInput: a number of rows was asked for; there are as many as there are.
    """
    if rows is not None:
        raise BadInput("the corpus texts has a length of its own", where="data, rows", fix="leave `rows` out")
    splits: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
    for number, one in enumerate(every_text()):
        splits[TURN[number % len(TURN)]].append({"text": one["text"]})
    return splits


def scored_rows(recipe: object) -> str:
    """What the rows are called that a result of `recipe`, as a result's files hold it, was scored on."""
    return "of the texts that edgekit ships" if _data(recipe).get("builtin") == TEXTS else ROWS


def quality_limit(recipe: object) -> str:
    """What a reader may not conclude from the quality of such a result."""
    data = _data(recipe)
    if data.get("builtin") == TEXTS:
        return "texts that edgekit ships, which are not yours and have no labels; on yours more or less may be lost"
    if data.get("answers") == "original":
        return (
            "the recipe's own test rows, which have no labels: nothing says that the original is right; others may fare worse"
        )
    return "the recipe's own test rows; others may fare worse"


def _data(recipe: object) -> Mapping[str, object]:
    """The recipe's [data]; empty in results of releases that did not write it."""
    found = recipe.get("data") if isinstance(recipe, Mapping) else None
    return found if isinstance(found, Mapping) else {}
