"""The comparison itself: a loaded bundle and the model's own library are asked the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.agreement.texts import made_texts
from edgekit.errors import BadInput, CheckFailed
from edgekit.models.quiet import quiet
from edgekit.models.view import view
from edgekit.progress import Progress, silent
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.model import Model
from edgekit.tasks import Task
from edgekit.tasks.reference import Ask

__all__ = ["TOLERANCE", "check_agreement", "shown", "spread"]

TOLERANCE = 1e-3
"""Largest distance of two scores, numbers of an embedding or log-probabilities: float32 kernels differ by a hundredth of it."""
ROWS = 32
SHOWN = 5
"""Inputs with another answer that an error names."""
LONGEST_SHOWN = 160
"""Characters of an input or answer in an error."""


def check_agreement(
    model: Model,
    folder: Path,
    task: Task,
    rows: Sequence[JsonObject],
    *,
    longest: int,
    pairs: bool,
    progress: Progress = silent,
) -> JsonObject:
    """Ask `model` and the library of the checkpoint in `folder` about `ROWS` of `rows` and about made texts.

    `rows`: of the test split, in order; images and sounds are named by their numbers in errors. `longest`: tokens that inputs are cut at.
    `pairs`: whether inputs are pairs of texts.

    Returns the library's name, how many inputs were compared, how many the bundle refuses, and the largest distance.

    Raises:
        CheckFailed: an answer is not the library's.
    """
    reference = task.reference
    assert reference is not None, "a plan has this stage where there is a reference"
    files = [] if task.reads == "text" else [(number, item) for number, row in enumerate(rows, 1) for item in task.items(row)]
    names = {str(item): f"{task.reads} of row {number} of test" for number, item in reversed(files)}

    def named(item: JsonValue) -> str:
        return shown(item) if task.reads == "text" else names.get(str(item), f"a made {task.reads}")

    asked = [*spread([item for row in rows for item in task.items(row)]), *reference.inputs(made_texts(longest), pairs)]
    largest, refused, faults = 0.0, 0, []
    with quiet(), view(folder) as seen:
        ask = reference.open(seen, longest)
        for number, item in enumerate(asked):
            progress(number, len(asked), f"compare: {number} of {len(asked)}")
            try:
                ours = reference.answer(model, item)
            except BadInput:  # a text of which the tokenizer keeps nothing, or that does not fit: said, and no answer
                refused += 1
                continue
            theirs = _asked(ask, item, reference.title, named(item))
            distance = reference.difference(ours, theirs)
            largest = max(largest, distance)
            if not distance <= TOLERANCE:
                faults.append(f"{named(item)}: {shown(ours)}; the library: {shown(theirs)}")
    progress(len(asked), len(asked), "compared")
    if faults:
        raise CheckFailed(
            f"{len(faults)} of {len(asked)} answers are not those of {reference.title}, in float32 and before any compression",
            where=str(folder), faults=faults[:SHOWN],
            fix="the model's files ask for something that is not computed here, so a bundle of it would be wrong; please report it with "
            "config.json and the tokenizer's files",
            see="answers-are-not-those-of-the-models-own-library",
        )  # fmt: skip
    return {"reference": reference.title, "inputs": len(asked) - refused, "refused": refused, "largest": largest}


def _asked(ask: Ask, item: JsonValue, title: str, name: str) -> object:
    """The library's answer. `name`: what the item is called.

    Raises:
        CheckFailed: it fails on this input, which the bundle answers.
    """
    try:
        return ask(item)
    except Exception as fault:  # a library's own, of any kind
        raise CheckFailed(
            f"{title} fails on {name}, which the bundle answers: {type(fault).__name__}: {str(fault)[:200]}",
            fix="look at what the model's files ask for; its own library cannot answer with them",
        ) from fault


def spread(items: Sequence[JsonValue]) -> list[JsonValue]:
    """`ROWS` of `items`, evenly over their lengths, the shortest and the longest among them."""
    by_length = sorted(items, key=lambda item: len(json.dumps(item, ensure_ascii=False)))
    count = min(ROWS, len(by_length))
    return [by_length[number * (len(by_length) - 1) // max(1, count - 1)] for number in range(count)]


def shown(value: object) -> str:
    """An input or an answer in one short line; of many numbers the first ones."""
    if isinstance(value, dict) and set(value) == {"embedding"}:
        value = value["embedding"]
    if isinstance(value, list | np.ndarray) and len(value) and isinstance(value[0], float | np.floating):
        return f"[{', '.join(f'{number:.4f}' for number in value[:4])}, ...] ({len(value)} numbers)"
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."
