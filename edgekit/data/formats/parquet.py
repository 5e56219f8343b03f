"""Parquet: one record a row, read by pyarrow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

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
        number = 0
        for batch in table.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield Record(number, row)
    except UnicodeDecodeError:
        raise BadInput("holds text that is not UTF-8", where=str(path), fix="save the text as UTF-8") from None
    except (pyarrow.ArrowException, OSError) as fault:
        raise BadInput(f"not a readable Parquet file: {fault}", where=str(path)) from None


FORMAT = Format((".parquet",), records)
