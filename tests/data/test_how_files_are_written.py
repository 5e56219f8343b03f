"""Separators and encodings that a file's name does not say: found out and said, or refused with what they could be."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from edgekit.data.formats import notes_on
from edgekit.data.rows import read_rows
from edgekit.errors import BadInput

COLUMNS = ("text", "label")
QUOTED = "quotes around fields are taken off, as pandas and datasets do"
WANTED = [{"text": "one, two", "label": "a"}, {"text": "three", "label": "b"}]


@pytest.mark.parametrize(
    ("name", "separator", "note"),
    [
        ("rows.tsv", "\t", [QUOTED]),
        ("rows.tsv.gz", "\t", [QUOTED]),
        ("rows.tsv", ",", ["columns are separated by commas"]),
        ("rows.csv", ",", []),
        ("rows.csv", ";", ["columns are separated by semicolons"]),
        ("rows.csv", "\t", ["columns are separated by tabs", QUOTED]),
        ("rows.csv", "|", ["columns are separated by bars"]),
    ],
)
def test_what_separates_columns(tmp_path: Path, name: str, separator: str, note: list[str]) -> None:
    text = f'text{separator}label\n"one, two"{separator}a\nthree{separator}b\n'.encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert read_rows(tmp_path / name, COLUMNS) == WANTED
    assert notes_on(tmp_path / name) == note


def test_quotes_that_enclose_nothing_are_not_spoken_of(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text('text\tlabel\n5" disk\ta\nthree\tb\n')
    assert read_rows(tmp_path / "rows.tsv", COLUMNS)[0]["text"] == '5" disk' and notes_on(tmp_path / "rows.tsv") == []


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_carriage_returns_alone_end_no_line_and_are_told(tmp_path: Path, name: str) -> None:
    separator = "," if name == "rows.csv" else "\t"
    (tmp_path / name).write_bytes(f"text{separator}label\rhello{separator}a\rworld{separator}b\r".encode())
    with pytest.raises(BadInput, match=r"a carriage return that no line feed follows.*dos2unix"):
        read_rows(tmp_path / name, COLUMNS)


@pytest.mark.parametrize("name", ["rows.tsv", "rows.csv"])
def test_quotes_of_who_does_not_quote_are_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('text\tlabel\n"on" he said\ta\n"open\tb\nplain\ta\n')
    assert [row["text"] for row in read_rows(path, COLUMNS)] == ['"on" he said', '"open', "plain"]
    assert notes_on(path)[-1] == "quotes are part of the text, as they do not enclose fields"


def test_quotes_that_enclose_fields_of_tabs_stay_quotes(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text('text\tlabel\n"a\tb\n""c"""\ta\n')
    assert read_rows(path, COLUMNS) == [{"text": 'a\tb\n"c"', "label": "a"}] and notes_on(path) == [QUOTED]


@pytest.mark.parametrize(
    ("name", "rows", "says"), [("rows.csv", '"on" he said,a', "commas"), ("rows.tsv", '"on" he\tsaid\ta', "tabs")]
)
def test_what_is_no_table_is_told_with_its_separator(tmp_path: Path, name: str, rows: str, says: str) -> None:
    (tmp_path / name).write_text(f"text{rows[-2]}label\n{rows}\n")
    with pytest.raises(BadInput, match=f"not CSV separated by {says}.*each quote in it is doubled") as caught:
        read_rows(tmp_path / name, COLUMNS)
    assert caught.value.where == f"{tmp_path / name}:2"


def test_rows_tell_where_the_header_does_not(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text;la|bel;label\nno bars; ;a\n")
    assert read_rows(tmp_path / "rows.csv", COLUMNS) == [{"text": "no bars", "label": "a"}]


def test_separators_that_cannot_be_told(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a;b|c\n")
    with pytest.raises(BadInput, match="the header holds semicolons and bars") as caught:
        read_rows(tmp_path / "rows.csv", COLUMNS)
    assert caught.value.fix == "separate them by commas, as the name of the file says"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-16", "naïve 你好"),
        ("utf-32", "naïve 你好"),
        ("cp1251", "Сегодня хорошая погода, мы идём гулять"),
        ("gb18030", "今天天气很好我们去公园玩"),
        ("big5", "今天天氣很好我們去公園玩"),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
    ],
)
@pytest.mark.parametrize("name", ["rows.tsv", "rows.txt"])
def test_encodings_that_can_be_told(tmp_path: Path, name: str, encoding: str, text: str) -> None:
    lines = [f"{text} {number}" for number in range(20)]
    rows = lines if name.endswith("txt") else ["text\tlabel", *(f"{line}\ta" for line in lines)]
    (tmp_path / name).write_bytes("\n".join(rows).encode(encoding))
    read = read_rows(tmp_path / name, ("text",))
    assert "\n".join(str(row["text"]) for row in read).split("\n") == lines
    assert notes_on(tmp_path / name) == [f"not in UTF-8; read as {encoding}"]


def test_encodings_that_cannot_be_told_are_shown(tmp_path: Path) -> None:
    """à, é and ù alone are other letters in each of the encodings of Europe."""
    path = tmp_path / "rows.csv"
    path.write_bytes("text,label\nle café est fermé à cinq heures,a\n".encode("cp1252"))
    with pytest.raises(BadInput, match="can be read in several ways") as caught:
        read_rows(path, COLUMNS)
    assert caught.value.where == f"{path}:2" and "as cp1252: 'le café est fermé à cinq heures,a'" in caught.value.faults
    assert "UTF-8" in str(caught.value.fix)


def test_a_file_that_is_changed_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_bytes("Сегодня хорошая погода, мы идём гулять".encode("cp1251"))
    assert notes_on(path)
    path.write_text("Сегодня хорошая погода", encoding="utf-8")
    assert notes_on(path) == [] and read_rows(path, ("text",)) == [{"text": "Сегодня хорошая погода"}]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.txt"])
def test_utf_16_without_its_mark(tmp_path: Path, name: str, encoding: str) -> None:
    """ASCII letters in it are UTF-8 with NULs between them."""
    rows = {"csv": "text,label\none,a\n", "jsonl": '{"text": "one", "label": "a"}\n', "txt": "one\n"}[name.partition(".")[2]]
    (tmp_path / name).write_bytes(rows.encode(encoding))
    assert read_rows(tmp_path / name, ("text",)) == [{"text": "one"}]
    assert notes_on(tmp_path / name) == [f"not in UTF-8; read as {encoding}"]


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_a_nul_is_no_text(tmp_path: Path, name: str) -> None:
    """A label that ends in one would be another label, and look the same."""
    separator = "," if name == "rows.csv" else "\t"
    (tmp_path / name).write_text(f"text{separator}label\none{separator}a\ntwo{separator}a\0")
    with pytest.raises(BadInput, match=r"3: holds a NUL"):
        read_rows(tmp_path / name, COLUMNS)


def test_a_header_again_is_no_row(tmp_path: Path) -> None:
    """Of files that were put one after the other; a new head would learn `label` as a label."""
    (tmp_path / "rows.csv").write_text("text,label\none,a\ntext,label\ntwo,b\n")
    with pytest.raises(BadInput, match=r"rows\.csv:3: is the header again"):
        read_rows(tmp_path / "rows.csv", COLUMNS)
    (tmp_path / "rows.csv").write_text("text\none\ntext\n")
    assert len(read_rows(tmp_path / "rows.csv", ("text",))) == 2, "one word may be a text"


@pytest.mark.parametrize(
    ("name", "fix"),
    [("rows.csv.zip", "unzip"), ("rows.tar.gz", "tar -xf"), ("rows.xlsx", "save it as .csv"), ("rows.arrow", "as .parquet"),
     ("rows.db", "sqlite3"), ("rows.what", ".csv, ")],
)  # fmt: skip
def test_files_that_are_not_read_say_how_they_become_what_is(tmp_path: Path, name: str, fix: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(BadInput, match="unknown kind of data file") as caught:
        read_rows(tmp_path / name, COLUMNS)
    assert fix in str(caught.value.fix)


def test_of_several_encodings_the_usual_ones_are_shown_first(tmp_path: Path) -> None:
    rows = "".join(f"the movie was good {number}{' at the café' * (number % 50 == 0)},a\n" for number in range(300))
    (tmp_path / "rows.csv").write_bytes(f"text,label\n{rows}".encode("cp1252"))
    with pytest.raises(BadInput, match="read in several ways") as caught:
        read_rows(tmp_path / "rows.csv", COLUMNS)
    assert caught.value.faults[0] == "as cp1252: 'the movie was good 0 at the café,a'" and "-f cp1252 -t utf-8" in str(
        caught.value.fix
    )
