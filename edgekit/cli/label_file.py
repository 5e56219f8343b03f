"""A file that says what labels mean, as `--label @FILE` names it: read where it is there, else written with what is open."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import BadInput
from edgekit.runtime.files import read_utf8
from edgekit.runtime.outputs import check_output_folder, write_atomically

if TYPE_CHECKING:
    from edgekit.draft import Asked, Unclear

__all__ = ["labels_in", "write_labels"]

LARGEST = 500_000
"""Bytes of such a file."""


def labels_in(path: Path) -> dict[str, str]:
    """What a file says of labels, a line each, as labels stand under [data.labels] of a recipe.

    Raises:
        BadInput: it cannot be read, or says something else.
    """
    form = 'write a line for each label, as in "pos" = "positive"'
    try:
        read = tomllib.loads(read_utf8(path, LARGEST))
    except tomllib.TOMLDecodeError as fault:
        raise BadInput(f"no file of labels: {fault}", where=str(path), fix=form) from None
    if odd := [name for name, value in read.items() if not isinstance(value, str)]:
        raise BadInput(f"{odd[0]!r} is no label with a name", where=str(path), fix=form)
    return {name: str(value) for name, value in read.items()}


def write_labels(question: Unclear, asked: Asked, path: Path) -> BadInput:
    """Write the labels that are open to a file, each with its likeliest name; what is told of it."""
    from edgekit.data.labels import as_lines

    check_output_folder(path.parent, "--label")
    head = [
        "# Label of the rows = name of the model's output. Write one of the model's for each NAME, and look at the others.",
        "# The model has:",
    ]
    known = [f"#   {json.dumps(name, ensure_ascii=False)}" for name in question.known]
    write_atomically(path, "\n".join([*head, *known, "", *as_lines({**asked.labels, **question.labels})]) + "\n")
    open_yet = sum(name == "NAME" for name in question.labels.values())
    return BadInput(
        f"{question.why}: {len(question.labels)} labels were written here, {open_yet} of them with NAME, the others with the likeliest name",
        where=str(path),
        fix="write one of the model's names, which stand there too, for each NAME, look at the others, and give the same line again",
    )
