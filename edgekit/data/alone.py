"""Whether rows are texts alone, which say nothing of what to answer; asked when the plan is made, as other stages follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.data.formats import records
from edgekit.data.hub import HUB
from edgekit.errors import BadInput

__all__ = ["ALONE", "texts_alone"]

ALONE = ("text",)
"""Columns of such rows."""


def texts_alone(asked: dict[str, Any], columns: tuple[str, ...]) -> bool:
    """Whether the test rows of `asked` (as `edgekit.data.splits.prepare` takes it) have a `text` but not all of `columns`.

    The first sound row of a file tells. Rows on the hub are not fetched for it: there [data.columns] tells, by naming `text`
    and none of `columns`. A file that cannot be read is False; the stage that reads it says why.
    """
    source, rename = asked.get("test"), asked.get("columns", {})
    if source is None:
        return False
    if str(source).startswith(HUB):
        return "text" in rename and not set(columns) & set(rename)
    try:
        there = next((record.values for record in records(Path(source)) if record.fault is None), {})
    except BadInput:
        return False
    return rename.get("text", "text") in there and not all(rename.get(column, column) in there for column in columns)
