"""Whether rows of one split are also in another: the same text, apart from case, white space and the form of accents."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from edgekit.data.columns import identity, inputs_of
from edgekit.data.images import FILES
from edgekit.errors import BadInput
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["fold", "overlap", "overlap_fault", "check_disjoint"]

EXAMPLES = 5
SHOWN = 80
"""Characters of an example."""


def fold(text: str) -> str:
    """`text` as it is compared: NFC, case folded, NFC again (folding can undo it), each run of white space one space."""
    folded = text.lower() if text.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(folded.split())


def overlap(one: Sequence[JsonObject], other: Sequence[JsonObject]) -> list[tuple[int, int, str]]:
    """(row in `one`, first such row in `other`, text as in `one`) of every shared input; rows count from 1. The text of a file, as of
    an image, is left empty."""
    first: dict[str, int] = {}
    for number, row in enumerate(other, 1):
        first.setdefault(fold(identity(row)), number)
    pairs = ((number, first.get(fold(identity(row))), row) for number, row in enumerate(one, 1))
    return [
        (number, match, "" if FILES.keys() & {*inputs_of(row)} else identity(row))
        for number, match, row in pairs
        if match is not None
    ]


def check_disjoint(
    one: Sequence[JsonObject], other: Sequence[JsonObject], names: tuple[str, str] = ("calibration", "evaluation")
) -> None:
    """Check that no input of `one` is in `other`.

    Raises:
        BadInput: some do; up to five examples with their rows, counted from 1.
    """
    shared = overlap(one, other)
    if shared:
        raise overlap_fault(shared, names, fix=f"take the {names[0]} rows from data that is not evaluated on")


def overlap_fault(shared: Sequence[tuple[int, int, str]], names: tuple[str, str], *, fix: str) -> BadInput:
    """The error for `shared`, as `overlap` returns it."""
    rows = "1 row" if len(shared) == 1 else f"{len(shared)} rows"
    return BadInput(
        f"{rows} of {names[0]} {'is' if len(shared) == 1 else 'are'} also in {names[1]}",
        where="data",
        faults=[
            f"{names[0]} row {number}, {names[1]} row {match}"
            + (f": {text[:SHOWN]!r}" if text else "")
            + ("..." if len(text) > SHOWN else "")
            for number, match, text in shared[:EXAMPLES]
        ],
        fix=fix,
    )
