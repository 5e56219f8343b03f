"""Rows of every file format, packed and not."""

from __future__ import annotations

import gzip
import io
import json
import lzma
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.data.rows import read_rows
from tests.fuzz.door import Door, Files

__all__ = ["DOORS"]

TEXTS = [{"text": f"turn {word} the lámp", "label": word} for word in ("on", "off", "up", "down", "left")]
TAGS = [{"tokens": ["we", "went", "to", "Rome"], "tags": ["O", "O", "O", "B-LOC"]} for _ in range(3)]
ANSWERS = [
    {"question": "Who?", "context": "Ada came first.", "answers": {"text": ["Ada"], "answer_start": [0]}} for _ in range(3)
]
RANKED = [{"query": "who", "passages": ["a b", "c"], "relevance": [1, 0]}]
SCORED = [{"sentence1": "a b", "sentence2": "c", "score": 0.5}, {"sentence1": "a", "sentence2": "b c", "score": 4}]
COLUMNS = (
    ("text", "label"),
    ("tokens", "tags"),
    ("question", "context", "answers"),
    ("query", "passages", "relevance"),
    ("sentence1", "sentence2", "score"),
    ("text",),
)


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    import pyarrow
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), out, **options)
    return out.getvalue()


def squad() -> bytes:
    """One article with the questions of `ANSWERS`, as SQuAD is published."""
    asked = [
        {"id": str(n), "question": row["question"], "answers": [{"text": "Ada", "answer_start": 0}]}
        for n, row in enumerate(ANSWERS)
    ]
    return json.dumps({"data": [{"title": "Ada", "paragraphs": [{"context": ANSWERS[0]["context"], "qas": asked}]}]}).encode()


def table(separator: str) -> bytes:
    rows = [["text", "label"], *([row["text"], row["label"]] for row in TEXTS), ['"a ""b"", ;\n\tc"', "on"]]
    return "\n".join(separator.join(row) for row in rows).encode() + b"\n"


def read(folder: Path) -> None:
    """The columns are those that the seeds of this form have; all of them are tried, as a file does not say what it is of."""
    from edgekit.errors import BadInput

    (path,) = folder.iterdir()
    faults = []
    for columns in COLUMNS:
        try:
            rows = read_rows(path, columns)
            assert rows and all(set(row) == set(columns) for row in rows)
            return
        except BadInput as fault:
            faults.append(fault)
        if not {"a column is missing"} & {fault.what.partition(";")[0] for fault in faults[-1:]}:
            break
    raise faults[-1]


def door(name: str, seeds: Callable[[], Sequence[Files]]) -> Door:
    return Door(f"rows-{name}", read, cache(seeds))


DOORS = (
    door("jsonl", lambda: [{"rows.jsonl": lines(rows)} for rows in (TEXTS, TAGS, ANSWERS, RANKED, SCORED)]),
    door("json", lambda: [{"rows.json": json.dumps(rows).encode()} for rows in (TEXTS, TAGS, ANSWERS)] + [{"rows.squad": squad()}]),
    door("conll", lambda: [{"rows.conll": b"we\tO\nwent\tO\n\nRome\tB-LOC\n"}, {"rows.conll": b"-DOCSTART- O\n\nRome NNP B-LOC\n"}]),
    door("csv", lambda: [{"rows.csv": table(",")}, {"rows.csv": table(";")}, {"rows.tsv": table("\t")}]),
    door("txt", lambda: [{"rows.txt": "One line.\n\nÄnother one.\r\nA third".encode()}]),
    door("parquet", lambda: [
        {"rows.parquet": parquet(rows, compression=packing)} for rows in (TEXTS, TAGS, ANSWERS, SCORED) for packing in ("none", "snappy", "zstd")
    ]),
    door("packed", lambda: [{"rows.jsonl.gz": gzip.compress(lines(TEXTS), mtime=0)}, {"rows.jsonl.xz": lzma.compress(lines(TEXTS))}]),
)  # fmt: skip
