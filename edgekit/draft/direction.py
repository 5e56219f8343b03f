"""Which way texts run, and which end of one that is too long is cut off."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from edgekit.draft.fit import Table, as_text
from edgekit.draft.seen import Seen

__all__ = ["direction_of"]

READ = 200
"""Rows whose letters are counted."""
CHARACTERS = 500
"""Of a text that are looked at."""
RIGHT_TO_LEFT, LETTERS = {"R", "AL"}, {"L", "R", "AL"}
"""Unicode's bidirectional classes of letters."""


def direction_of(rows: Table, columns: Mapping[str, str], *, cuts_left: bool) -> Seen | None:
    """What is said of both; None where the rows hold no letters. `cuts_left`: what the model's tokenizer does."""
    text = "".join(as_text(row.get(name))[:CHARACTERS] for row in rows[:READ] for name in columns.values())
    classes = [kind for kind in map(unicodedata.bidirectional, text) if kind in LETTERS]
    if not classes:
        return None
    share = sum(kind in RIGHT_TO_LEFT for kind in classes) / len(classes)
    runs = "right to left" if share > 0.5 else "left to right"
    mixed = f", and {min(share, 1 - share):.0%} run the other way" if min(share, 1 - share) >= 0.01 else ""
    end = "beginning" if cuts_left else "end"
    return Seen(
        "text direction",
        runs,
        f"so run the letters of the rows{mixed}; the {end} of a text that is too long is cut off, as the tokenizer says",
    )
