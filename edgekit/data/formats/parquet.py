"""Parquet: one record a row, read by pyarrow.

A few bytes of Parquet can stand for any amount: a text is stored once and repeated by its number, pages are compressed, a million rows may
be one run. So texts stay numbers until their size is known, a few rows are read at a time, and pyarrow has a limit of memory meanwhile.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edgekit.data.labels import named
from edgekit.data.memory import at_most
from edgekit.data.reading import LARGEST, RATIO, SMALL, Format, Record, Unread, open_data, read_bytes
from edgekit.errors import BadInput

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

__all__ = ["FORMAT"]

ROWS = 4096
"""Rows that are read at a time."""
ROW_BYTES = 64
"""What a row counts for besides its values: rows of nulls take no bytes in a file."""
SLACK = 256 * 1024**2
"""Bytes that pyarrow may take besides what the file unpacks to."""


def records(path: Path, packing: str) -> Iterator[Record]:
    return _records(path, packing, None)


def some(path: Path, packing: str, columns: Collection[str]) -> Iterator[Record]:
    """Other columns are read too where one of `columns` is not there, so that it can be told which it may be."""
    return _records(path, packing, columns)


def _records(path: Path, packing: str, columns: Collection[str] | None) -> Iterator[Record]:
    import pyarrow

    with ExitStack() as stack:
        source: BinaryIO = io.BytesIO(read_bytes(path, packing)) if packing else stack.enter_context(open_data(path, ""))
        left = most = min(LARGEST, max(SMALL, RATIO * source.seek(0, io.SEEK_END)))
        try:
            with at_most(most + SLACK):
                file = _opened(source)
            schema, known = file.schema_arrow, _class_names(file.schema_arrow.metadata)
            double = tuple(name for name, count in Counter(schema.names).items() if count > 1)
            names = [name for name in schema.names if name not in double]
            wanted = (
                names
                if columns is None or not set(columns) <= set(schema.names)
                else [name for name in names if name in columns]
            )
            _check_size(file.metadata, most)
            batches = file.iter_batches(ROWS, columns=wanted, use_threads=False)
            before = 0
            while True:
                with at_most(most + SLACK):
                    batch = next(batches, None)
                    left -= 0 if batch is None else ROW_BYTES * batch.num_rows + sum(map(_size, batch.columns))
                if batch is None:
                    break
                if left < 0:
                    raise MemoryError
                lists = {name: _values(batch.column(name), required=columns is not None and name in columns) for name in wanted}
                unread = [Unread("not read")] * batch.num_rows
                for number in range(batch.num_rows):
                    row = {name: lists.get(name, unread)[number] for name in names}
                    row |= {name: named(row[name], labels) for name, labels in known.items() if name in row}
                    yield Record(before + number + 1, row, duplicates=double)
                before += batch.num_rows
        except MemoryError:
            raise BadInput(
                f"unpacks to more than {most / 1024**2:,.0f} MiB", where=str(path),
                fix="sample it, or write it again with the columns that rows need and without repetition",
            ) from None  # fmt: skip
        except UnicodeDecodeError:
            raise BadInput("holds text that is not UTF-8", where=str(path), fix="save the text as UTF-8") from None
        except (pyarrow.ArrowException, OSError) as fault:
            raise BadInput(f"not a readable Parquet file: {fault}", where=str(path)) from None


def _opened(source: BinaryIO) -> parquet.ParquetFile:
    """The file, texts of which come as numbers and the texts that they are of; within lists and structs pyarrow cannot do so."""
    from pyarrow import parquet

    metadata = parquet.read_metadata(source)
    leaves = [metadata.schema.column(number) for number in range(metadata.num_columns)]
    texts = [
        leaf.path
        for leaf in leaves
        if leaf.physical_type == "BYTE_ARRAY" and leaf.path == leaf.name and not leaf.max_repetition_level
    ]
    return parquet.ParquetFile(source, metadata=metadata, read_dictionary=texts, pre_buffer=False)


def _check_size(metadata: parquet.FileMetaData, most: int) -> None:
    """MemoryError where the file itself says that it unpacks to more than `most` bytes."""
    if sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)) > most:
        raise MemoryError


def _size(array: pyarrow.Array) -> int:
    """Bytes of the values of `array` with each text written out."""
    from pyarrow import compute, types

    if types.is_dictionary(array.type) and _is_text(array.type.value_type):
        lengths = compute.binary_length(array.dictionary).cast("int64")
        return 8 * len(array) + (compute.sum(lengths.take(array.indices)).as_py() or 0)
    if types.is_list(array.type) or types.is_large_list(array.type) or types.is_struct(array.type):
        parts = array.flatten()
        return 8 * len(array) + sum(map(_size, parts if types.is_struct(array.type) else [parts]))
    return 8 * len(array) + int(array.nbytes)


def _values(array: pyarrow.Array, *, required: bool) -> list[object]:
    """The values of `array`; `Unread` for each where its kind has no values in Python, or, unless `required`, text that is not UTF-8."""
    from pyarrow import types

    try:
        if types.is_dictionary(array.type):  # each text is made once, however often it is there
            indices = array.indices.to_pylist()
            used = sorted({index for index in indices if index is not None})
            texts = dict(zip(used, array.dictionary.take(used).to_pylist() if used else [], strict=True))
            return [texts.get(index) for index in indices]
        return list(array.to_pylist())
    except (
        ValueError,
        OverflowError,
        TypeError,
        NotImplementedError,
        KeyError,
    ) as fault:  # of kinds that Python holds less of than Arrow
        if required and isinstance(fault, UnicodeDecodeError):
            raise
        return [Unread(str(array.type))] * len(array)


def _is_text(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary))


def _class_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Column -> names of its numbered labels, as the `datasets` library writes them into a schema ("ClassLabel", alone or in a list)."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"].items()
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}
    inner = {
        name: feature[0] if isinstance(feature, list) and feature else feature for name, feature in features
    }  # datasets before 4
    inner = {name: kind.get("feature", kind) for name, kind in inner.items() if isinstance(kind, dict)}
    return {
        name: list(map(str, kind["names"]))
        for name, kind in inner.items()
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel" and isinstance(kind.get("names"), list)
    }


FORMAT = Format((".parquet",), records, some=some)
