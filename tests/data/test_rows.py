"""Local files: what is read comes back as it was written, and what cannot be used is named with its line."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.data import formats, reading
from edgekit.data.rows import MOST_FAULTS, read_rows
from edgekit.errors import BadInput

COLUMNS = ("text", "label")
ROWS = [
    {"text": "set an alarm for six", "label": "alarm"},
    {"text": '🌧️ emoji, "quotes", commas\nand a break', "label": "weather"},
    {"text": "أشعل الضوء في المطبخ", "label": "light"},
    {"text": "x" * 1_000_000, "label": "long"},
]
PACKINGS = {"": lambda data: data, ".gz": gzip.compress, ".xz": lzma.compress}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """`rows` in the kind and packing that the name of `path` says."""
    packing = path.suffix if path.suffix in PACKINGS else ""
    plain = path.with_suffix("") if packing else path
    if plain.suffix == ".jsonl":
        plain.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif plain.suffix == ".csv":
        with plain.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), plain)
    data = plain.read_bytes()
    plain.unlink()
    path.write_bytes(PACKINGS[packing](data))
    return path


def refused(path: Path, data: bytes | str = b"", **more: Any) -> BadInput:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(BadInput) as caught:
        read_rows(path, COLUMNS, **more)
    return caught.value


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet"])
def test_every_kind_and_packing_gives_the_rows_back(tmp_path: Path, kind: str, packing: str) -> None:
    path = write(tmp_path / f"rows{kind}{packing}", ROWS)
    assert read_rows(path, COLUMNS) == ROWS
    assert read_rows(str(path), ("label",)) == [{"label": row["label"]} for row in ROWS]


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet"])
def test_columns_can_be_renamed(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"rows{kind}", [{"utterance": "hello", "intent": "greet", "extra": "1"}])
    assert read_rows(path, COLUMNS, {"text": "utterance", "label": "intent"}) == [{"text": "hello", "label": "greet"}]


value = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1).filter(
    lambda text: bool(text.strip())
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.fixed_dictionaries({"text": value, "label": value}), min_size=1, max_size=6),
    st.sampled_from([".jsonl", ".csv", ".jsonl.xz", ".csv.gz"]),
)
def test_round_trip_of_any_text(tmp_path: Path, rows: list[dict[str, str]], kind: str) -> None:
    assert read_rows(write(tmp_path / f"rows{kind}", rows), COLUMNS) == rows


def test_byte_order_mark_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a", "label": "b"}\r\n\n  \n{"text": "c", "label": "d"}')
    assert [row["text"] for row in read_rows(path, COLUMNS)] == ["a", "c"]


def test_missing_file_folder_and_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file") as caught:
        read_rows(tmp_path / "none.jsonl", COLUMNS)
    assert caught.value.where == str(tmp_path / "none.jsonl")
    with pytest.raises(BadInput, match="is a folder"):
        read_rows(tmp_path, COLUMNS)
    assert "unknown kind of data file '.md.gz'" in str(refused(tmp_path / "rows.md.gz"))


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".jsonl.gz"])
def test_empty_file(tmp_path: Path, kind: str) -> None:
    packing = Path(kind).suffix if Path(kind).suffix in PACKINGS else ""
    assert "holds no rows" in str(refused(tmp_path / f"rows{kind}", PACKINGS[packing](b"")))
    assert "holds no rows" in str(refused(tmp_path / "header.csv", "text,label\n"))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"text": "a", "label": ', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('["a", "b"]', "not a JSON object"),
        ('{"text": "a"}', "'label' is missing"),
        ('{"text": 7, "label": "b"}', "'text' is int, not text"),
        ('{"text": null, "label": "b"}', "'text' is null, not text"),
        ('{"text": "", "label": "b"}', "'text' is empty"),
        ('{"text": "\\u00a0\\t ", "label": "b"}', "'text' is empty"),
        ('{"text": "a", "label": " "}', "'label' is empty"),
        ('{"text": "\\ud83d", "label": "b"}', "half of a surrogate pair"),
    ],
)
def test_malformed_json_line_is_named(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "rows.jsonl"
    fault = refused(path, '{"text": "fine", "label": "b"}\n\n' + line + "\n")
    assert what in fault.what
    assert fault.where == f"{path}:3"
    assert fault.exit_code == 2


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_invalid_utf8_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    lines = (
        ['{"text": "a", "label": "b"}', '{"text": "c", "label": "d"}']
        if name.endswith("jsonl")
        else ["text,label", "a,b", "c,d"]
    )
    data = "\n".join(lines).encode().replace(b"c", b"caf\xe9")
    fault = refused(tmp_path / name, data)
    assert fault.what.startswith("not UTF-8, and its bytes can be read in several ways")
    assert fault.where == f"{tmp_path / name}:{len(lines)}"


def test_malformed_csv(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    fault = refused(path, 'text,label\n"two\nlines",ok\na,b,c\nd\n')
    assert fault.faults == tuple(
        f"line {line}: {count} fields where the header has 2, separated by commas" for line, count in ((4, 3), (5, 1))
    )
    assert "not CSV" in refused(path, 'text,label\na,b\n"open,b\n').what
    assert "more than one column is named 'text'" in refused(path, "text,label,text\na,b,c\n").what
    before = csv.field_size_limit()
    assert refused(path, "text,label\n,b\n").where == f"{path}:2"
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("text", [",text,label\n0,a,b\n", "text,label,\na,b,\n", "x,text,label,x,\n1,a,b,2,\n"])
def test_columns_nobody_asks_for_never_matter(tmp_path: Path, text: str) -> None:
    """As pandas' to_csv writes its index, and as spreadsheets end a line."""
    (tmp_path / "rows.csv").write_text(text)
    assert read_rows(tmp_path / "rows.csv", COLUMNS) == [{"text": "a", "label": "b"}]


@pytest.mark.parametrize(
    ("value", "label"), [("0", "0"), ("12", "12"), ("-1", "-1"), ("1.0", "1"), ("0.5", "0.5"), ("true", "true")]
)
def test_labels_as_numbers(tmp_path: Path, value: str, label: str) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{{"text": "a", "label": {value}}}')
    assert read_rows(tmp_path / "rows.jsonl", COLUMNS) == [{"text": "a", "label": label}]
    (tmp_path / "tags.jsonl").write_text(f'{{"tokens": ["a"], "tags": [{value}]}}')
    assert read_rows(tmp_path / "tags.jsonl", ("tokens", "tags")) == [{"tokens": ["a"], "tags": [label]}]


@pytest.mark.parametrize("value", ["null", "NaN", "Infinity", "[]", "{}", '" "'])
def test_labels_that_are_none(tmp_path: Path, value: str) -> None:
    assert "'label'" in refused(tmp_path / "rows.jsonl", f'{{"text": "a", "label": {value}}}').what


@pytest.mark.parametrize(
    ("value", "labels"),
    [('["b", "a"]', ["b", "a"]), ("[]", []), ('"a"', ["a"]), ("3", ["3"]), ("[2, 0]", ["2", "0"]), ('"[\\"a\\"]"', ["a"])],
)
def test_labels_of_which_any_number_apply(tmp_path: Path, value: str, labels: list[str]) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{{"text": "a", "label": {value}}}')
    assert read_rows(tmp_path / "rows.jsonl", COLUMNS, kinds={"label": "labels"}) == [{"text": "a", "label": labels}]
    if value[0] == "[":
        (tmp_path / "rows.csv").write_text('text,label\na,"' + value.replace('"', '""') + '"\n')
        assert read_rows(tmp_path / "rows.csv", COLUMNS, kinds={"label": "labels"}) == [{"text": "a", "label": labels}]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ('"a;b"', "may be several labels"), ('"a, b"', "may be several labels"), ("[0, 1, 0]", "twice"), ("[0.0, 1.0]", "0 or 1 for each"),
        ("null", "JSON list"), ('"[\'a\', b]"', "JSON list"), ('["a", ""]', "is empty"), ("{}", "JSON list"), ("1.5", "JSON list"),
    ],
)  # fmt: skip
def test_labels_that_might_be_others_are_refused(tmp_path: Path, value: str, what: str) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{{"text": "a", "label": {value}}}')
    with pytest.raises(BadInput, match="'label'") as caught:
        read_rows(tmp_path / "rows.jsonl", COLUMNS, kinds={"label": "labels"})
    assert what in caught.value.what


RANKED = ("query", "passages", "relevance")


def test_passages_and_their_relevance(tmp_path: Path) -> None:
    row = {"query": "a", "passages": ["b", "c"], "relevance": [0, 2]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    assert read_rows(tmp_path / "rows.jsonl", RANKED) == [row]
    (tmp_path / "rows.csv").write_text('query,passages,relevance\na,"[""b"", ""c""]","[0, 2]"\n')
    assert read_rows(tmp_path / "rows.csv", RANKED) == [row]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"passages": ["b"]}, "has 1 passages and 2 numbers"), ({"passages": []}, "'passages' is an empty list"),
        ({"passages": "b"}, "'passages' is no JSON list"), ({"passages": ["b", " "]}, "is empty"), ({"relevance": [1, -1]}, "negative"),
        ({"relevance": [1, "high"]}, "is not a number"), ({"relevance": 1}, "is not a list of numbers"), ({"query": ""}, "'query' is empty"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_ranked(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"query": "a", "passages": ["b", "c"], "relevance": [0, 2], **change}))
    with pytest.raises(BadInput) as caught:
        read_rows(tmp_path / "rows.jsonl", RANKED)
    assert says in caught.value.what


def test_class_labels_of_parquet_become_names(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from pyarrow import parquet

    labels = datasets.ClassLabel(names=["off", "on"])
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": labels, "tokens": [datasets.Value("string")], "tags": [labels]}
    )
    path = tmp_path / "rows.parquet"
    rows = {"text": ["a", "b"], "label": [1, 0], "tokens": [["a"], ["b", "c"]], "tags": [[0], [1, 0]]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))
    assert [row["label"] for row in read_rows(path, COLUMNS)] == ["on", "off"]
    assert [row["tags"] for row in read_rows(path, ("tokens", "tags"))] == [["off"], ["on", "off"]]
    datasets.Dataset.from_dict({**rows, "label": [1, -1]}, features=features).to_parquet(str(path))
    assert "'label' is null" in refused(path, path.read_bytes()).what
    table = parquet.read_table(path)
    said = json.loads(table.schema.metadata[b"huggingface"])
    for name in ("tokens", "tags"):  # lists, as datasets before 4 writes them: no column had names then
        said["info"]["features"][name] = [said["info"]["features"][name]["feature"]]
    parquet.write_table(table.slice(0, 1).replace_schema_metadata({"huggingface": json.dumps(said)}), path)
    assert [(row["label"], row["tags"]) for row in read_rows(path, ("text", "label", "tags"))] == [("on", ["off"])]


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet"])
def test_missing_columns_are_all_told_with_the_nearest(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"rows{kind}", [{"texts": "a", "labels": "b"}])
    with pytest.raises(BadInput) as caught:
        read_rows(path, COLUMNS)
    assert caught.value.what == "a column is missing; found: 'texts', 'labels'; rows need 'text', 'label'"
    assert caught.value.faults == ("no column 'text', perhaps 'texts'", "no column 'label', perhaps 'labels'")


@pytest.mark.parametrize(
    ("row", "columns", "likely"),
    [
        ({"sentence": "a", "target": "b"}, COLUMNS, {"text": "sentence", "label": "target"}),
        ({"text": "a", "target": "b"}, COLUMNS, {"label": "target"}),
        ({"words": ["a"], "tags": ["O"]}, ("tokens", "tags"), {"tokens": "words"}),
        ({"tokens": ["a"], "ner_tags": ["O"]}, ("tokens", "tags"), {"tags": "ner_tags"}),
        ({"target": "b"}, COLUMNS, {"text": "NAME", "label": "target"}),
        ({"sentence": "a"}, COLUMNS, {"text": "sentence", "label": "NAME"}),
        ({"review_text": "a", "text_label": "b"}, COLUMNS, {"text": "review_text", "label": "text_label"}),
        ({"txt": "a", "stars": 5}, COLUMNS, {"text": "txt", "label": "NAME"}),
        ({"sentence1": "a", "sentence2": "b", "label": 4.5}, ("sentence1", "sentence2", "score"), {"score": "label"}),
    ],
)
def test_an_input_is_never_taken_for_an_answer(
    tmp_path: Path, row: dict[str, Any], columns: tuple[str, ...], likely: dict[str, str]
) -> None:
    path = write(tmp_path / "rows.jsonl", [row])
    with pytest.raises(BadInput) as caught:
        read_rows(path, columns, absent=("text_pair",))
    assert str(caught.value.what).endswith(f"rows need {', '.join(map(repr, columns))} and may have 'text_pair'")
    fix = str(caught.value.fix)
    assert tomllib.loads(fix[fix.index("columns = ") : fix.index("}") + 1]) == {"columns": likely}


def test_what_the_recipe_says_of_other_columns_stays_in_the_fix(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"utterance": "a", "target": "b"}])
    with pytest.raises(BadInput, match="no column 'text', perhaps 'utterance'") as caught:
        read_rows(path, COLUMNS, {"label": "target"})
    assert 'columns = { "label" = "target", "text" = "utterance" } in [data]' in str(caught.value.fix)


def test_a_damaged_line_of_utf8_is_named(tmp_path: Path) -> None:
    data = "text,label\nnaïve,b\nc,d\n".encode().replace(b"c,", b"caf\xe9,")
    fault = refused(tmp_path / "rows.csv", data)
    assert (fault.what, fault.where) == ("not UTF-8", f"{tmp_path / 'rows.csv'}:3")


def test_many_faults_are_told_once_each(tmp_path: Path) -> None:
    few = refused(tmp_path / "rows.jsonl", '{"text": "a", "label": "b"}\n' + '{"text": "", "label": "b"}\nnot json\n')
    assert few.what == "2 rows cannot be used"
    assert [fault.split(":")[0] for fault in few.faults] == ["line 2", "line 3"]
    many = refused(tmp_path / "rows.jsonl", '{"text": "", "label": "b"}\n' * 50)
    assert many.what == "50 rows cannot be used" and many.fix
    assert many.faults == ("lines 1, 2, 3, 4, 5 and 45 more: 'text' is empty",)
    kinds = refused(tmp_path / "rows.csv", "text,label\n" + "".join("x" + ",x" * (n + 2) + "\n" for n in range(12)))
    assert len(kinds.faults) == MOST_FAULTS + 1 and kinds.faults[-1] == "and 2 rows more"


@pytest.mark.parametrize("packing", [".gz", ".xz"])
def test_damaged_packing(tmp_path: Path, packing: str) -> None:
    whole = PACKINGS[packing](b'{"text": "a", "label": "b"}\n' * 1000)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for data in (whole[:-6], bytes(flipped), b"not packed at all"):
        assert f"damaged {packing} file" in refused(tmp_path / f"rows.jsonl{packing}", data).what


def test_damaged_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert "not a readable Parquet file" in refused(tmp_path / "rows.parquet", b"PAR1 this is not it PAR1").what


def test_parquet_types_and_empty_tables(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"text": ["a", None], "label": [0, 1]}), path)
    assert "'text' is null, not text" in refused(path, path.read_bytes()).what
    parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), path)
    assert "holds no rows" in refused(path, path.read_bytes()).what


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv.xz", "rows.parquet", "rows.parquet.gz"])
def test_size_is_capped_after_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = write(tmp_path / name, [{"text": "a" * 4000, "label": "b"}] * 30)
    assert len(read_rows(path, COLUMNS)) == 30
    monkeypatch.setattr(reading, "LARGEST", 2000)
    with pytest.raises(BadInput, match="GiB when unpacked"):
        read_rows(path, COLUMNS)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv.gz", "rows.parquet"])
def test_a_file_is_parsed_once_for_all_who_ask_for_it(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, made = write(tmp_path / name, ROWS), formats._made
    ends: list[Path] = []

    def counted(format_: Any, path: Path, *more: Any) -> Any:
        yield from made(format_, path, *more)
        ends.append(path)

    monkeypatch.setattr(formats, "_made", counted)
    with formats.read_once():
        assert next(formats.records(path)).values == ROWS[0] and not ends, "a look at the first row reads no more"
        assert [record.values for record in formats.records(path)] == read_rows(path, COLUMNS) == ROWS
        assert read_rows(path, ("text",), {"text": "label"})[0] == {"text": "alarm"} and len(ends) == 1
        write(path, ROWS[:2])
        os.utime(path, ns=(0, 0))
        assert read_rows(path, COLUMNS) == ROWS[:2], "a file that was changed is another one"
        monkeypatch.setattr(formats, "QUICK", 0)
        assert read_rows(path, COLUMNS) == read_rows(path, COLUMNS) and len(ends) == 4, "none of a large one is kept"
    assert read_rows(path, COLUMNS) == ROWS[:2] and len(ends) == 5
