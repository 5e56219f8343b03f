"""The rows that a recipe is drafted for: one file of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.data.formats import records
from edgekit.data.formats.json_document import read_document
from edgekit.data.reading import AS_NAMED, PACKINGS, Shape
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
class Place:
    """A source of rows, as [data] has it."""

    path: str
    more: Mapping[str, str | list[str]] = field(default_factory=dict)
    """What its table says beside the path."""


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
    places: Mapping[str, Place]
    """Key of [data] -> where these rows lie."""

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
    shape = _shape_of(path)
    sound = (record.values for record in records(path, lines=True, shape=shape) if record.fault is None)
    every = list(itertools.islice(sound, READ))
    if not every:
        raise BadInput("holds no rows", where=str(path))
    count = len(every) + sum(1 for _ in sound)
    trained = round(TRAINED * count)
    more: dict[str, str | list[str]] = {"format": shape.format} if shape.format else {}
    more |= {"members": [*shape.members]} if shape.members else {}
    return Rows(every, count, trained, (count - trained) // 2, SPLIT, {"file": Place(data, more)})


def _shape_of(path: Path) -> Shape:
    """How a .json file is read, of which its name does not say it: SQuAD's own, an object with a list of rows, or a row a line."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes[-1] if suffixes[-1:] and suffixes[-1] in PACKINGS else ""
    if (suffixes[:-1] if packing else suffixes)[-1:] != [".json"]:
        return AS_NAMED
    try:
        document = read_document(path, packing)
    except BadInput:
        with suppress(BadInput):
            if next(records(path, shape=Shape(f"jsonl{packing}"))).fault is None:
                return Shape(f"jsonl{packing}")
        raise
    if not isinstance(document, dict):
        return AS_NAMED
    lists = {
        name: value for name, value in document.items() if isinstance(value, list) and value and isinstance(value[0], dict)
    }
    if "paragraphs" in next(iter(lists.get("data", [])), {}):
        return Shape(f"squad{packing}")
    return Shape(members=(next(iter(lists)),)) if len(lists) == 1 else AS_NAMED
