"""Rows from a hub data set: `hub:owner/name[:config][@revision]`, read by the `datasets` library, no code of the data set's own."""

from __future__ import annotations

import re

from edgekit.errors import BadInput, NotPossibleHere

__all__ = ["HUB", "read_hub"]

HUB = "hub:"
FORM = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?(?:@(?P<revision>[\w.-]+))?$")


def read_hub(source: str, split: str, columns: tuple[str, ...], rename: dict[str, str]) -> list[dict[str, str]]:
    """Rows of one split with exactly `columns`; numbered labels become their names.

    Raises:
        BadInput: a malformed source, or a column that is not there.
        NotPossibleHere: the hub cannot be reached or does not have it.
    """
    import datasets

    match = FORM.fullmatch(source)
    if match is None:
        raise BadInput(f"not a hub data set: {source!r}", fix="write hub:owner/name, hub:owner/name:config or hub:owner/name@revision")
    try:
        table = datasets.load_dataset(match["name"], match["config"], split=split, revision=match["revision"])
    except Exception as fault:  # `datasets` raises its own, fsspec's and huggingface_hub's errors, which differ by version
        raise NotPossibleHere(f"the hub did not give it: {type(fault).__name__}: {fault}", where=source) from fault
    names = {column: rename.get(column, column) for column in columns}
    absent = [name for name in names.values() if name not in table.column_names]
    if absent:
        raise BadInput(f"no column {absent[0]!r}; it has {', '.join(table.column_names)}", where=source, fix="name it in [data.columns]")
    for name in names.values():
        feature = table.features[name]
        if isinstance(feature, datasets.ClassLabel):
            known = feature.names
            table = table.cast_column(name, datasets.Value("int64"))
            table = table.map(lambda row, name=name, known=known: {name: known[row[name]]}, features=None)
    return [{column: str(row[name]) for column, name in names.items()} for row in table]
