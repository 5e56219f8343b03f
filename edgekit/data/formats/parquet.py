"""Parquet: one record a row, read by pyarrow."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

from edgekit.data.labels import named
from edgekit.data.reading import Format, Record, check_size, read_bytes
from edgekit.errors import BadInput

__all__ = ["FORMAT"]


def records(path: Path, packing: str) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    data = read_bytes(path, packing)
    try:
        table = parquet.ParquetFile(io.BytesIO(data))
        check_size(sum(table.metadata.row_group(group).total_byte_size for group in range(table.num_row_groups)), path)
        number, known = 0, _class_names(table.schema_arrow.metadata)
        for batch in table.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield Record(
                    number, {name: named(value, known[name]) if name in known else value for name, value in row.items()}
                )
    except UnicodeDecodeError:
        raise BadInput("holds text that is not UTF-8", where=str(path), fix="save the text as UTF-8") from None
    except (pyarrow.ArrowException, OSError) as fault:
        raise BadInput(f"not a readable Parquet file: {fault}", where=str(path)) from None


def _class_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Column -> names of its numbered labels, as the `datasets` library writes them into a schema ("ClassLabel", alone or in a list)."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        inner = {name: feature.get("feature", feature) for name, feature in features.items()}
        return {name: list(map(str, kind["names"])) for name, kind in inner.items() if kind.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


FORMAT = Format((".parquet",), records)
