"""The rows that a recipe is drafted for: one file of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from edgekit.data.formats import records
from edgekit.draft.fit import Table
from edgekit.draft.seen import Seen
from edgekit.errors import BadInput

__all__ = ["Rows", "read_for_draft"]

LOOKED_AT = 5000
"""Rows that columns are found in: of a longer file, rows at even distances, as many files are sorted by label."""
READ = 200_000
"""Rows of a file that are read for that; more are counted."""
SPLIT = Seen(
    "data.split",
    "70 / 15 / 15 %",
    "one file, split by the seed: each label in its share, the same text in one split; give rows that the model was not trained on",
)
TRAINED = 0.7
"""Share of the rows of one file that is trained on."""


@dataclass(frozen=True)
class Rows:
    """Rows as a file has them."""

    every: Table
    """Up to `READ` of them."""
    count: int
    """Of all."""
    trained: int
    """Of those that are trained on."""
    tested: int
    """Of those that are scored."""
    split: Seen
    """How they come to be three splits."""

    @property
    def looked_at(self) -> Table:
        """Those that columns are found in."""
        return self.every[:: max(1, len(self.every) // LOOKED_AT)]


def read_for_draft(data: str) -> Rows:
    """The sound rows of a file.

    Raises:
        BadInput: it cannot be read, or holds none.
    """
    path = Path(data)
    sound = (record.values for record in records(path, lines=True) if record.fault is None)
    every = list(itertools.islice(sound, READ))
    if not every:
        raise BadInput("holds no rows", where=str(path))
    count = len(every) + sum(1 for _ in sound)
    trained = round(TRAINED * count)
    return Rows(every, count, trained, (count - trained) // 2, SPLIT)
