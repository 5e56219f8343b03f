"""Rows without labels that a student learns from beside the training rows: augmented, filled by a language model, or the recipe's own."""

from __future__ import annotations

import json
from pathlib import Path

from edgekit.compress.distillation.augment import augmented_rows
from edgekit.compress.distillation.fill import filled_rows
from edgekit.compress.distillation.settings import Settings
from edgekit.compress.method import Work
from edgekit.errors import BadInput
from edgekit.models.checkpoint import resolve
from edgekit.runtime.jsontypes import JsonValue

__all__ = ["more_rows", "unlabelled_rows"]


def more_rows(work: Work, settings: Settings, train: list[dict[str, JsonValue]]) -> list[dict[str, JsonValue]]:
    """Rows without labels to train on in addition to `train`.

    Raises:
        BadInput: the recipe names no unlabelled rows, or no masked language model.
        NotPossibleHere: a hub id without a network.
    """
    more = augmented_rows(train, settings.augment, work.seed)
    if settings.fill_model is not None:
        folder = resolve(work.checkpoint(settings.fill_model))
        more += filled_rows(train, settings.fill, folder, work.seed, work.max_length, work.scratch, work.progress)
    return more + unlabelled_rows(work.rows, train[0], settings.unlabelled)


def unlabelled_rows(folder: Path, like: dict[str, JsonValue], most: int) -> list[dict[str, JsonValue]]:
    """The first `most` unlabelled rows of a rows artifact, in the columns of row `like`.

    Raises:
        BadInput: the recipe names none, or the task asks more of an input than a text.
    """
    if not most:
        return []
    path = folder / "unlabelled.jsonl"
    if not path.is_file():
        raise BadInput("unlabelled rows are asked for, but [data] names none", where="compress, distill, unlabelled")
    if {"question", "text_pair", "query"} & set(like):
        raise BadInput("a text alone is no pair of texts", where="compress, distill, unlabelled")
    with path.open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line, _ in zip(file, range(most), strict=False)]
    if "tokens" in like:
        return [{**dict.fromkeys(like), "tokens": text.split()} for text in texts]
    return [{**(dict.fromkeys(like) if "text" in like else {}), "text": text} for text in texts]
