"""Whether rows of embeddings are texts alone, which say nothing of what to answer; asked when the plan is made, as other stages follow."""

from __future__ import annotations

from edgekit.data.formats import records
from edgekit.data.sources import Sources
from edgekit.errors import BadInput

__all__ = ["texts_alone"]


def texts_alone(sources: Sources, columns: tuple[str, ...]) -> bool:
    """Whether the test rows of `sources` have a `text` but not all of `columns`.

    The first sound row of a file tells. Rows elsewhere are not fetched for it: there [data.columns] tells, by naming `text`
    and none of `columns`. A file that cannot be read is False; the stage that reads it says why.
    """
    names = sources.columns
    test = sources.of("test") or sources.train
    if test is None:
        return False
    if not test.here:
        return "text" in names and not set(columns) & set(names)
    try:
        first = next(
            (record.values for record in records(test.files[0], columns=(), shape=test.shape) if record.fault is None), {}
        )
    except BadInput:
        return False
    return names.get("text", "text") in first and not all(names.get(column, column) in first for column in columns)
