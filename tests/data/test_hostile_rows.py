"""Rows from hostile files: sizes are known before they are met, work is linear, and columns that nobody needs may be anything."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import lzma
import os
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from edgekit.data import reading
from edgekit.data.columns import usable_value
from edgekit.data.formats import records
from edgekit.data.labels import check_labels
from edgekit.data.memory import at_most
from edgekit.data.rows import MOST_BAD, read_rows
from edgekit.errors import BadInput
from tests.bounded import refused

COLUMNS = ("text", "label")
WIDE_XZ = (
    "fd377a585a000004e6d6b44602002101250000003b787b410100027b7d0a000063a18ae0b503693a00011b030b2fb9101fb6f37d010000000004595a"
)
"""{} and a line feed, packed with a dictionary of 1.5 GiB."""
READ = """
import sys
from edgekit.data.rows import read_rows
from edgekit.errors import EdgekitError
try:
    read_rows(sys.argv[1], ("text", "label"))
except EdgekitError as fault:
    print(fault)
    sys.exit(fault.exit_code)
"""


def told(path: Path) -> str:
    """What is said of a file that cannot be used."""
    with pytest.raises(BadInput) as fault:
        read_rows(path, COLUMNS)
    return fault.value.text()


def dictionary_bomb() -> bytes:
    """40 GB of text in 800 bytes: one of 2 MB, 20,000 times by its number."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 2_000_000]))
    file = io.BytesIO()
    parquet.write_table(pa.table({"text": texts, "label": ["a"] * 20_000}), file, compression="zstd")
    return file.getvalue()


def nested_bomb() -> bytes:
    """120 MB within one list, whose texts cannot stay numbers."""
    file = io.BytesIO()
    parquet.write_table(pa.table({"text": [["x" * 2_000_000] * 60], "label": ["a"]}), file, compression="zstd")
    return file.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "a line.jsonl.xz": lambda: lzma.compress(b'{"text": "' + b"a" * (1 << 27), preset=0),
    "blank lines.jsonl.gz": lambda: gzip.compress(b"\n" * (1 << 27)),
    "a dictionary.parquet": dictionary_bomb,
    "a list.parquet": nested_bomb,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path: Path, name: str) -> None:
    """Kilobytes that unpack to gigabytes end in one message, with little memory used."""
    path = tmp_path / name
    path.write_bytes(BOMBS[name]())
    assert path.stat().st_size < 400_000
    assert "unpacks to more than" in refused("-c", READ, path)


def test_what_is_large_by_itself(tmp_path: Path) -> None:
    """Sparse files: beyond the limit they are not opened; within it a line has a limit of its own."""
    for name in ("a.jsonl", "a.csv", "a.txt", "a.parquet", "a.jsonl.gz"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(40 * 1024**3)
        assert "2 GiB" in told(tmp_path / name)
    for name in ("b.jsonl", "b.csv"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(100 * 1024**2)
        assert "a line of more than 16 MiB" in told(tmp_path / name)


def test_no_file(tmp_path: Path) -> None:
    """A pipe is not waited for, a device is not read, whatever format it is said to have."""
    for ending in ("jsonl", "csv", "txt", "parquet", "jsonl.gz", "csv.xz"):
        os.mkfifo(tmp_path / f"pipe.{ending}")
        (tmp_path / f"zero.{ending}").symlink_to("/dev/zero")
        assert "is a named pipe" in told(tmp_path / f"pipe.{ending}")
        assert "is a device" in told(tmp_path / f"zero.{ending}")


def test_xz_takes_no_more_memory_than_it_may(tmp_path: Path) -> None:
    """A header of some bytes may ask for 1.5 GiB."""
    path = tmp_path / "a.jsonl.xz"
    path.write_bytes(bytes.fromhex(WIDE_XZ))
    assert "Memory usage limit exceeded" in told(path)


def test_streams_of_xz(tmp_path: Path) -> None:
    """Several, with padding between them as the format has it; damage and an early end are told."""
    row = b'{"text": "a", "label": "b"}\n'
    path = tmp_path / "a.jsonl.xz"
    path.write_bytes(lzma.compress(row) + b"\0" * 400_000 + lzma.compress(row * 3) + b"\0" * 8)
    assert len(read_rows(path, COLUMNS)) == 4
    path.write_bytes(lzma.compress(row * 1000)[:-20])
    assert "damaged .xz file" in told(path)
    path.write_bytes(lzma.compress(row) + b"more")
    assert "damaged .xz file" in told(path)


def test_lines_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a block of the file ends: in a line, in a character, between \\r and \\n."""
    monkeypatch.setattr(reading, "BLOCK", 7)
    rows = [{"text": text, "label": "ü"} for text in ("a", "grün 日本語 🙂", "a\u2028\x85b", "b" * 50)]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\r\n" for row in rows) + b"\n\n")
    assert read_rows(path, COLUMNS) == rows


def test_a_line_longer_than_any_of_plain_text_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Corpora of one line exist: to language models none of it is lost, and no character or word is torn that has a space beside it."""
    monkeypatch.setattr(reading, "BLOCK", 64)
    monkeypatch.setattr(reading, "LONGEST", 1000)
    words = [random.Random(5).choice(("größer", "日本", "a", "🙂🙂")) for _ in range(4000)]
    path = tmp_path / "a.txt"
    path.write_text(" ".join(words), encoding="utf-8")
    assert " ".join(row["text"] for row in read_rows(path, ("text",))).split() == words  # type: ignore[misc]
    path.write_text("日本語" * 3000, encoding="utf-8")
    assert "".join(row["text"] for row in read_rows(path, ("text",))) == "日本語" * 3000  # type: ignore[misc]
    with pytest.raises(BadInput, match="has a line of more than"):
        read_rows(path, ("text",), lines=True)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[" * 100_000, "not JSON: maximum recursion depth exceeded"),
        ('{"text": ' * 100_000, "not JSON: maximum recursion depth exceeded"),
        ('{"text": "a", "label": ' + "1" * 5000 + "}", "not JSON: Exceeds the limit"),
        ('{"text": "a", "text": "b", "label": "c"}', "more than one column is named 'text'"),
        ('{"text": "a", "label": {"b": 1, "b": 2}}', "'b' is given twice in one object"),
        ('{"text": "a", "label": "b", "x": [{"b": 1, "b": 2}]}', "'b' is given twice in one object"),
    ],
)
def test_lines_of_json(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line + "\n")
    message = told(path)
    assert says in message
    assert len(message) < 400


def test_a_key_twice_is_a_fault_of_any_row_and_of_no_other_column(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = '{"text": "a", "label": "b", "note": 1, "note": NaN}\n'
    path.write_text(row * 3)
    assert len(read_rows(path, COLUMNS)) == 3
    path.write_text(row * 3 + '{"text": "a", "label": "b", "label": "c"}\n')
    assert "a.jsonl:4: 'label' is given twice" in told(path)


def test_a_quote_without_an_end_takes_in_a_record_and_not_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.data.formats.csv_table.LONGEST", 10_000)
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"' + "abc,d\n" * 100_000)
    assert "a record of more than" in told(path)
    path.write_text("text,label\n" + '"a\nb",c\n' * 10_000)
    assert len(read_rows(path, COLUMNS)) == 10_000


def test_few_of_many_faults_and_names_are_told(tmp_path: Path) -> None:
    """No more rows are read once so many are unusable; a message names some of a million columns."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": "b"}\n' + "{}\n" * (MOST_BAD * 2))
    assert "10,000 rows and perhaps more cannot be used" in told(path)
    path.write_text(json.dumps({f"c{number}": "x" for number in range(100_000)}) + "\n")
    message = told(path)
    assert "'c49' and 99,950 more" in message
    assert len(message) < 5000
    path.write_text("".join(f'{{"text": "a", "label": {{"{"x" * 10_000}{number}": 1}}}}\n' for number in range(30)))
    assert len(told(path)) < 20_000


KINDS: dict[str, pa.Array] = {
    "date": pa.array([2**31 - 1], pa.int32()).cast(pa.date32()),
    "duration": pa.array([2**62], pa.int64()).cast(pa.duration("s")),
    "timestamp": pa.array([2**62], pa.int64()).cast(pa.timestamp("us")),
    "zone": pa.array([0], pa.timestamp("us", "No/Where")),
    "twice": pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"]),
    "bytes": pa.array([b"\xff"]),
    "decimal": pa.array([Decimal("1.5")]),
    "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    "nested": pa.array([[[{"a": [1]}]]]),
    "nothing": pa.nulls(1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_parquet_that_nobody_needs(tmp_path: Path, kind: str) -> None:
    """Whatever they are; where they are needed, the message says what they are."""
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["a"], "extra": KINDS[kind], "label": ["b"]}), path)
    assert read_rows(path, COLUMNS) == [{"text": "a", "label": "b"}]
    message = ""
    with pytest.raises(BadInput) as fault:
        read_rows(path, ("text", "extra"))
    message = fault.value.text()
    assert "a.parquet:1: 'extra' is " in message
    with pytest.raises(BadInput, match=r"a column is missing; found: 'text', 'extra', 'label'"):
        read_rows(path, ("text", "missing"))


def test_a_needed_value_beyond_python(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["a"], "label": KINDS["timestamp"]}), path)
    assert "'label' is timestamp[us], which rows do not hold" in told(path)


def test_a_name_twice_in_parquet(tmp_path: Path) -> None:
    """As in CSV: refused where it is needed, passed over where not."""
    path = tmp_path / "a.parquet"
    schema = pa.schema([("text", pa.string()), ("label", pa.string()), ("note", pa.string()), ("note", pa.string())])
    parquet.write_table(pa.Table.from_arrays([pa.array(["a"])] * 4, schema=schema), path)
    assert read_rows(path, COLUMNS) == [{"text": "a", "label": "a"}]
    with pytest.raises(BadInput, match="more than one column is named 'note'"):
        read_rows(path, ("text", "note"))


def test_other_columns_are_not_read(tmp_path: Path) -> None:
    """A damaged page, or a gigabyte, of a column that nobody needs."""
    path = tmp_path / "a.parquet"
    parquet.write_table(
        pa.table({"text": ["a"] * 9, "label": ["b"] * 9, "extra": ["x" * 2_000_000] * 9}), path, use_dictionary=False
    )
    data = bytearray(path.read_bytes())
    column = parquet.read_metadata(path).row_group(0).column(2)
    data[column.data_page_offset : column.data_page_offset + 40] = bytes(40)
    path.write_bytes(data)
    assert len(read_rows(path, COLUMNS)) == 9


def test_what_is_read_of_parquet_is_what_is_there(tmp_path: Path) -> None:
    """Texts with nulls, repeated or not, large enough to leave the dictionary; lists, numbers; rows of several groups and pages."""
    chance = random.Random(3)
    rows: list[dict[str, Any]] = [
        {
            "text": chance.choice(["the same", "ü" * chance.randrange(2000), str(chance.random())]), "label": chance.choice([None, "a", "b"]),
            "tokens": ["w"] * chance.randrange(4), "n": number, "g.h": chance.choice("xyz"), "at": datetime.datetime(2026, 1, 1),
            "inner": {"text": [chance.choice("pq")]},
        }
        for number in range(10_000)
    ]  # fmt: skip
    for version, size in (("1.0", 700), ("2.0", 9000)):
        path = tmp_path / "a.parquet"
        parquet.write_table(
            pa.Table.from_pylist(rows), path, row_group_size=size, data_page_version=version, dictionary_pagesize_limit=20_000
        )
        assert [record.values for record in records(path)] == rows
        assert [record.line for record in records(path)] == list(range(1, 10_001))
        some = list(records(path, columns=("text", "g.h")))
        assert [{name: record.values[name] for name in ("text", "g.h")} for record in some] == [
            {name: row[name] for name in ("text", "g.h")} for row in rows
        ]
        assert list(some[0].values) == list(rows[0])


def test_memory_has_a_limit_meanwhile() -> None:
    with pytest.raises(MemoryError), at_most(64 * 1024**2):
        bytearray(1024**3)
    assert len(bytearray(256 * 1024**2)) == 256 * 1024**2


@pytest.mark.parametrize("value", [True, False, "1_0", "١٢", "0x10", "1e", "", "1 2", b"1", None, [1], "--1", "1,5"])
def test_no_number(value: object) -> None:
    assert usable_value("score", value)[1] == "is not a number"


@pytest.mark.parametrize(
    ("value", "number"), [("1", 1.0), (" -2.5e-3\n", -0.0025), (".5", 0.5), ("5.", 5.0), (3, 3.0), (Decimal("0.5"), 0.5)]
)
def test_numbers(value: object, number: float) -> None:
    assert usable_value("score", value) == (number, None)


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", float("nan"), "1e999"])
def test_not_finite(value: object) -> None:
    assert usable_value("score", value)[1] == "is not a finite number"


@pytest.mark.parametrize("value", ["[" * 100_000, '["a", NaN]', '[{"a": 1, "a": 2}]', '["\\ud800"]', "[" + "1" * 5000 + "]"])
def test_hostile_lists_in_text(value: str) -> None:
    """As a field of a .csv file holds them."""
    fault = usable_value("labels", value)[1]
    assert fault is not None
    assert len(fault) < 300


def test_labels_as_long_as_books_are_not_compared_letter_by_letter() -> None:
    """Likeness takes the square of their lengths, which would be an hour here."""
    known = ["ab" * 100_000 + str(number) for number in range(20)]
    with pytest.raises(BadInput, match="10 labels unknown") as fault:
        check_labels([["ab" * 100_000 + f"x{number}"] for number in range(10)], known)
    assert len(fault.value.text()) < 20_000
