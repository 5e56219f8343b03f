"""Which column of a file says which split each row is of, and what its values mean."""

from __future__ import annotations

from collections.abc import Mapping, Set

from edgekit.data.labels import few
from edgekit.data.sources import LEFT_OUT, SPLIT_WORDS, SPLITS, split_named
from edgekit.draft.fit import few_values
from edgekit.draft.rows import Rows
from edgekit.draft.seen import Choice, Unclear
from edgekit.errors import BadInput

__all__ = ["NO_COLUMN", "check_splits", "split_column"]

NO_COLUMN = "none"
"""What --split says where no column says which split a row is of."""
ANEW = Choice("none of them", "rows are split anew, by the seed", (("--split", "", NO_COLUMN),))
SHOWN = 10
"""Values that a message tells."""


def split_column(rows: Rows, said: str | None, taken: Set[str], *, grouped: bool) -> str | None:
    """The column that says which split each row is of: as the user `said`, or as its values do; None where none does, or where rows are
    `grouped` by another. `taken`: columns that the user named for something else.

    Raises:
        Unclear: several do.
    """
    if said is not None or grouped:
        return None if said == NO_COLUMN else said
    found = [name for name in rows.split_columns if name not in taken]
    if len(found) > 1:
        choices = [
            Choice(name, f"such as {few_values(row.get(name) for row in rows.looked_at)}", (("--split", "", name),))
            for name in found
        ]
        raise Unclear("several columns say which split a row is of", [*choices, ANEW])
    return found[0] if found else None


def check_splits(rows: Rows, column: str, said: Mapping[str, str], where: str) -> None:
    """Check that all values of the column of splits name one, or are `said` to be one (or none, where their rows are left out).

    Raises:
        Unclear: a value that names none.
        BadInput: no row is of train, or all are; a value that no row has.
    """
    values = rows.values_of(column)
    meant = {value: split_named(value, said) for value in values}
    if strange := [name for name in said if name not in values]:
        raise BadInput(
            f"no row has {', no '.join(map(repr, strange))} in column {column!r}, which has {few([*values])}", where="--split",
            fix="write one of its values before the =",
        )  # fmt: skip
    there = {split for split in meant.values() if split not in (None, LEFT_OUT)}
    if odd := sorted((value for value, split in meant.items() if split is None), key=lambda value: -values[value]):
        raise _open_splits(rows, column, odd, sorted(("test", "validation", "train"), key=lambda split: split in there), where)
    if "train" not in there or len(there) == 1:
        raise BadInput(
            f"all rows are of {' and '.join(sorted(map(str, there))) or 'no split'}, as column {column!r} says", where=where,
            fix=f"give rows of train, and of validation or test, or have them split by the seed: {ANEW.options}",
        )  # fmt: skip


def _open_splits(rows: Rows, column: str, odd: list[str], may: list[str], where: str) -> Unclear:
    """The question what the values `odd`, the commonest first, of a column of splits mean. `may`: splits, the likeliest first."""
    values, value = rows.values_of(column), odd[0]
    choices = [
        Choice(f"{value} = {split}", f"its {values[value]:,} rows are of {split}", (("--split", value, split),))
        for split in may
    ]
    choices.append(Choice(f"{value} = {LEFT_OUT}", f"its {values[value]:,} rows are left out", (("--split", value, LEFT_OUT),)))
    known = ", ".join(f"{split} ({', '.join(word for word, one in SPLIT_WORDS.items() if one == split)})" for split in SPLITS)
    shown = [f"{name!r}: {values[name]:,} of {len(rows.every):,} rows" for name in odd[:SHOWN]]
    more = [f"and {len(odd) - SHOWN} more"] if len(odd) > SHOWN else []
    fix = f"say what each means, as in {choices[0].options} (or {', '.join(may[1:])}, or {LEFT_OUT}, where they are to be left out); or have "
    fix += f"all rows split anew by the seed: {ANEW.options}"
    if not value:
        choices, fix = [], f"write a split into each row, or have all rows split anew by the seed: {ANEW.options}"
    what = f"column {column!r} says which split a row is of, and has values that name none"
    told = BadInput(what, where=where, faults=[*shown, *more, f"those that do: {known}"], fix=fix)
    return Unclear(what, [*choices, ANEW], told=told)
