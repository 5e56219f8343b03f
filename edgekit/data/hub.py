"""Rows of a hub data set, `hub:owner/name[@revision][#config]`, read by the `datasets` library; none of its code runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgekit.config.recipe import HUB
from edgekit.data.labels import named
from edgekit.data.reading import Record
from edgekit.data.rows import Row, RowCheck, usable
from edgekit.errors import BadInput, NotPossibleHere
from edgekit.fetch.hub import first_answer, in_words, size_on_hub
from edgekit.fetch.mirror import MIRROR, Found, find_folder

if TYPE_CHECKING:
    import datasets

__all__ = ["HubSource", "find_data_set", "hub_records", "load_split", "on_hub", "parse_hub", "read_hub", "size_of_data_set"]

FORM = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?:#(?P<config>[\w.-]+))?")
HubSource = tuple[str, str | None, str | None]
"""(owner/name, revision, config)."""


def on_hub(source: str) -> bool:
    """Whether `source` names a hub data set; else it is a path."""
    return source.startswith(HUB)


def parse_hub(source: str) -> HubSource:
    """The parts of `source`.

    Raises:
        BadInput: it is not written as hub:owner/name[@revision][#config].
    """
    match = FORM.fullmatch(source)
    if match is None:
        raise BadInput(f"not a hub data set: {source!r}", where="data", fix="write hub:owner/name[@revision][#config]")
    return match["name"], match["revision"], match["config"]


def read_hub(
    source: str,
    split: str,
    columns: tuple[str, ...],
    rename: dict[str, str] | None = None,
    absent: tuple[str, ...] = (),
    kinds: Mapping[str, str] = MappingProxyType({}),
    check: RowCheck | None = None,
) -> list[Row]:
    """Rows of one split with exactly `columns` and none of `absent`; numbered class labels become their names. `kinds` and `check` as in
    `read_rows`.

    Pin a commit as revision: the cache key holds what is written in `source`, not what the hub has today.

    Raises:
        BadInput: a malformed source; a data set, config, split or column that is not there; one that needs its own code;
            rows that cannot be used.
        NotPossibleHere: `datasets` is not installed, or the hub cannot be reached.
    """
    table = load_split(source, split)
    import datasets

    return usable(_records(table, datasets.ClassLabel), columns, rename, absent, kinds, check, where=f"{source}, split {split}")


def hub_records(source: str, split: str) -> Iterator[Record]:
    """The records of one split as they are, with the names of numbered labels.

    Raises:
        BadInput, NotPossibleHere: as `read_hub`, but for columns and rows.
    """
    table = load_split(source, split)
    import datasets

    return _records(table, datasets.ClassLabel)


def find_data_set(source: str) -> Found | None:
    """The data set in the mirror; None where there is none.

    Raises:
        BadInput: a malformed source, or a mirror that cannot be used.
        CheckFailed: the mirror's files are not what its index says.
    """
    name, revision, _ = parse_hub(source)
    return find_folder("datasets", name, revision)


def size_of_data_set(source: str) -> int | None:
    """Bytes of all files of the data set, as the hub says, of which its library fetches those that it needs; None where it does not answer."""
    name, revision, _ = parse_hub(source)
    return size_on_hub("datasets", name, revision)


def load_split(source: str, split: str) -> datasets.Dataset:
    """One split, from the mirror, or fetched where the library has not done so before.

    Raises:
        BadInput, CheckFailed, NotPossibleHere: as `read_hub` and `find_data_set`.
    """
    name, revision, config = parse_hub(source)
    try:
        import datasets
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise NotPossibleHere(
            "hub data sets need the `datasets` package",
            where=source,
            fix='pip install "edgekit[export]"',
            see="something-is-not-installed",
        ) from None
    found = find_data_set(source)
    cached = Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")
    answer = 0 if found is not None or cached.exists() else first_answer("datasets", name, revision)
    if not isinstance(answer, int | HfHubHTTPError):  # of what the hub does not have, and of space, the library says more
        raise _not_given(source, in_words("datasets", answer)) from answer
    try:
        if found is not None:
            return datasets.load_dataset(str(found.path), config, split=split)
        return datasets.load_dataset(name, config, split=split, revision=revision)
    except (datasets.exceptions.DatasetNotFoundError, datasets.exceptions.DataFilesNotFoundError) as fault:
        raise BadInput(f"no such data set, or it is not public: {fault}", where=source) from fault
    except ValueError as fault:  # an unknown split or config; the message lists those there are
        fix = f"a configuration stands behind a #, as in {source.partition('#')[0]}#CONFIG"
        raise BadInput(str(fault), where=f"{source}, split {split}", fix=fix) from fault
    except (RuntimeError, datasets.exceptions.DatasetGenerationError) as fault:
        raise BadInput(
            f"cannot be read as plain data: {fault}", where=source, fix="convert it to Parquet; no code of a data set is run"
        ) from fault
    except Exception as fault:  # the network's faults: of OSError, httpx, fsspec or huggingface_hub, and they differ by version
        raise _not_given(source, in_words("datasets", fault)) from fault


def _not_given(source: str, why: str) -> NotPossibleHere:
    fix = f"check the name and the network, or download the rows and name the files, or name a folder that has it in {MIRROR}"
    return NotPossibleHere(f"the hub did not give it: {why}", where=source, fix=fix, see="the-hub-did-not-give-it")


def _records(table: datasets.Dataset, class_label: type[datasets.ClassLabel]) -> Iterator[Record]:
    """Rows with the names of numbered labels, alone or in lists, in place of their numbers."""
    known = {}
    for column, feature in table.features.items():
        inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)  # of a list of labels
        if isinstance(inner, class_label):
            known[column] = inner.names
    for number, row in enumerate(table, 1):
        yield Record(number, {**row, **{column: named(row[column], names) for column, names in known.items()}})
