"""Rows of one file as training, validation and test rows: seeded, stratified by label, and without a text or a group in two of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from edgekit.config.recipe import Split
from edgekit.data.columns import identity
from edgekit.data.disjoint import fold
from edgekit.data.labels import as_table
from edgekit.data.rows import Row
from edgekit.data.sources import split_named
from edgekit.errors import BadInput

__all__ = ["as_named", "partition"]

STRATA = ("label", "labels", "tags")
"""Columns whose names of labels tell rows apart that every split should have its share of."""
MOST_NAMED = 10
"""Values of a column of splits that a message tells."""
FEWEST = 2
"""Rows that every split must have."""


def partition(
    rows: Sequence[Row], split: Split, seed: int, groups: Sequence[str] | None = None, *, without: Collection[str] = ()
) -> dict[str, list[Row]]:
    """`rows` by split, each split in the order of the file. `without`: splits that are not drawn, as they are there already.

    Rows with the same text (after `fold`) stay together, and so do those with the same of `groups`, a value a row. Of each label, every
    split gets its share to the nearest such unit, training the first; a row of several labels counts as its rarest, as in iterative
    stratification (Sechidis, Tsoumakas, Vlahavas 2011). The same rows and seed give the same splits, in whatever order the rows stand.

    Raises:
        BadInput: rows, texts or groups too few to give each split two rows.
    """
    drawn = {name: share for name, share in (("test", split.test), ("validation", split.validation)) if name not in without}
    shares = {"train": 1 - sum(drawn.values()), **drawn}
    labels = [_labels(row) for row in rows]
    rarity = Counter(label for several in labels for label in several)
    strata: dict[str, list[list[int]]] = defaultdict(list)
    texts = [fold(identity(row)) for row in rows]
    units = _units(texts, groups)
    for unit in units:
        strata[min((rarity[label], label) for number in unit for label in labels[number])[1]].append(unit)
    taken: dict[str, list[int]] = {name: [] for name in shares}
    for label in sorted(strata):
        have, seen = dict.fromkeys(shares, 0), 0
        for unit in sorted(strata[label], key=lambda unit: _order(texts, unit, seed)):
            seen += len(unit)
            name = max(shares, key=lambda name: shares[name] * seen - have[name])
            have[name] += len(unit)
            taken[name] += unit
    few = [
        f"{name}: {len(numbers)} of the {FEWEST} rows that are needed"
        for name, numbers in taken.items()
        if len(numbers) < FEWEST
    ]
    if few:
        raise _too_few(rows, few, len(units), len(strata), math.ceil(FEWEST / min(shares.values())), grouped=groups is not None)
    return {name: [rows[number] for number in sorted(taken[name])] for name in ("train", "validation", "test") if name in taken}


def as_named(rows: Sequence[Row], names: Sequence[str], column: str, said: Mapping[str, str]) -> dict[str, list[Row]]:
    """`rows` by the split that the column names, a value a row of `names`; only splits that some row is of, and `LEFT_OUT`. `said`: what values
    mean that are no name of a split.

    Raises:
        BadInput: a value that names no split, or no row of train, or of train alone.
    """
    found: dict[str, list[Row]] = {}
    odd: Counter[str] = Counter()
    for row, name in zip(rows, names, strict=True):
        if (split := split_named(name, said)) is None:
            odd[name] += 1
        else:
            found.setdefault(split, []).append(row)
    where = f"data, split, column {column!r}"
    if odd:
        shown = [f"{name[:60]!r}: of {count:,} row{'s' * (count > 1)}" for name, count in odd.most_common(MOST_NAMED)]
        table = as_table("names", {**said, odd.most_common(1)[0][0][:60]: "test"})
        fix = f"say what they mean, as in split = {{ column = {json.dumps(column, ensure_ascii=False)}, {table} }} in [data], where train, "
        fix += "validation, test or none (rows that are left out) may stand, or leave `column` out, and the rows are split by the seed"
        raise BadInput("names splits that are none", where=where, faults=shown, fix=fix)
    if "train" not in found or not {"validation", "test"} & set(found):
        fix = "give rows of train, and of validation or test, or leave `column` out, and the rows are split by the seed"
        raise BadInput(f"all rows are of {' and '.join(sorted(found))}", where=where, fix=fix)
    return found


def _too_few(rows: Sequence[Row], few: list[str], units: int, labels: int, needed: int, *, grouped: bool) -> BadInput:
    """Why rows cannot be split: there are fewer than are `needed`, they hang together in few `units`, or most labels have a row or two."""
    by = "text or group" if grouped else "text"
    counted = "1 row is" if len(rows) == 1 else f"{len(rows)} rows are"
    if len(rows) < needed:
        what, fix = f"{counted} too few to split", f"give {needed} rows or more with different texts"
    elif units < needed:
        together = "all have the same" if units == 1 else f"make {units} parts that stay together, each of the same"
        what = f"{counted} not to be split: they {together} {by}"
        fix = f"give rows with {needed} or more different texts" + (", or a column with more groups" if grouped else "")
    else:
        what = f"{counted} not to be split: they have {labels} different labels, and a label of few rows goes to training alone"
        fix = "take out the labels of few rows, name another column if this one is no label (--column label=NAME)"
    return BadInput(
        what,
        where="data, file",
        faults=few,
        fix=f"{fix}, or give three files (train, validation, test)",
        see="too-few-rows-to-split",
    )


def _units(texts: Sequence[str], groups: Sequence[str] | None) -> list[list[int]]:
    """Numbers of rows that must stay together: those that are joined by a text or by a group, directly or through others."""
    same: dict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        same[text].append(number)
    if groups is None:
        return list(same.values())
    parent = list(range(len(texts)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first: dict[str, int] = {}
    for number, (text, group) in enumerate(zip(texts, groups, strict=True)):
        for before in (same[text][0], first.setdefault(group, number)):
            one, other = root(before), root(number)
            parent[max(one, other)] = min(one, other)
    units: dict[int, list[int]] = defaultdict(list)
    for number in range(len(texts)):
        units[root(number)].append(number)
    return list(units.values())


def _labels(row: Mapping[str, object]) -> set[str]:
    """Names of the row's labels; one that all rows share where it has none."""
    values = [row[column] for column in STRATA if column in row]
    names = [each for value in values for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
    return set(names) or {""}


def _order(texts: Sequence[str], unit: Sequence[int], seed: int) -> tuple[str, str]:
    """What a unit is sorted by: a number drawn from its text and the seed, whatever other rows there are."""
    text = texts[unit[0]] if len(unit) == 1 else min(texts[number] for number in unit)
    return hashlib.sha256(f"{seed}\0{text}".encode()).hexdigest(), text
