"""Files as their authors publish them: tables without a header, JSON documents, SQuAD's JSON, CoNLL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.config.recipe import Data
from edgekit.data.formats import notes_on
from edgekit.data.reading import Shape
from edgekit.data.rows import read_rows
from edgekit.data.sources import Place, Sources, sources_of
from edgekit.data.splits import prepare, source_digest
from edgekit.errors import BadInput, CheckFailed

TEXTS = ("text", "label")
SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Ada",
            "paragraphs": [
                {
                    "context": "Ada came first.",
                    "qas": [
                        {"id": "1", "question": "Who came?", "answers": [{"text": "Ada", "answer_start": 0}]},
                        {"id": "2", "question": "Who left?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}


def read(path: Path, data: str | dict[str, Any], columns: tuple[str, ...], **shape: Any) -> list[Any]:
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return read_rows(path, columns, shape=Shape(**shape))


def test_a_table_without_a_header(tmp_path: Path) -> None:
    lines = 'A plane.,"An air, plane.",5.0\r\nA man.,A dog.,0.4\r\n'
    columns = ("sentence1", "sentence2", "score")
    rows = read(tmp_path / "rows.csv", lines, columns, names=columns)
    assert [list(row.values()) for row in rows] == [["A plane.", "An air, plane.", 5.0], ["A man.", "A dog.", 0.4]]
    with pytest.raises(BadInput, match="3 fields where `names` has 2"):
        read(tmp_path / "rows.csv", lines, ("sentence1",), names=("sentence1", "score"))


def test_lists_of_a_json_document(tmp_path: Path) -> None:
    document = {"train": [["on", "a"]], "val": [["off", "b"]], "oos": [["what", "c"]], "version": 2}
    rows = read(tmp_path / "rows.json", document, TEXTS, names=TEXTS, members=("oos", "train"))
    assert [tuple(row.values()) for row in rows] == [("what", "c"), ("on", "a")]
    rows = read(tmp_path / "rows.json", {"rows": [{"text": "on", "label": 1}]}, TEXTS, members=("rows",))
    assert rows == [{"text": "on", "label": "1"}]
    assert read(tmp_path / "rows.json", '[{"text": "on", "label": "a"}]', TEXTS) == [{"text": "on", "label": "a"}]


@pytest.mark.parametrize("orient", ["records", "columns", "index", "split", "table", "list"])
def test_a_table_as_pandas_writes_it(tmp_path: Path, orient: str) -> None:
    """What `to_json` writes of each orient, and `to_dict("list")`; the names and numbers of its index are no columns."""
    rows = [{"review": f"good movie {number}", "label": "on" if number % 2 else "off"} for number in range(12)]
    names, columns = [*rows[0]], {name: [row[name] for row in rows] for name in rows[0]}
    documents: dict[str, Any] = {
        "records": rows, "list": columns, "index": {str(number): row for number, row in enumerate(rows)},
        "columns": {name: {str(number): value for number, value in enumerate(column)} for name, column in columns.items()},
        "split": {"columns": names, "index": [*range(12)], "data": [[*row.values()] for row in rows]},
        "table": {"schema": {"fields": []}, "data": rows},
    }  # fmt: skip
    (tmp_path / "rows.json").write_text(json.dumps(documents[orient]))
    members = {"members": ("data",)} if orient == "table" else {}
    found = read_rows(tmp_path / "rows.json", ("text", "label"), {"text": "review"}, shape=Shape(**members))
    assert found == [{"text": row["review"], "label": row["label"]} for row in rows]


def test_a_document_in_another_encoding_and_one_with_a_damaged_letter(tmp_path: Path) -> None:
    rows = [{"text": f"сегодня хорошая погода {number}", "label": "да"} for number in range(20)]
    whole = json.dumps(rows, ensure_ascii=False)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-be"):
        (tmp_path / "rows.json").write_bytes(whole.encode(encoding))
        assert read_rows(tmp_path / "rows.json", TEXTS) == rows
    assert notes_on(tmp_path / "rows.json") == ["not in UTF-8; read as utf-16-be"]
    (tmp_path / "rows.json").write_bytes(whole.encode().replace("погода 3".encode(), b"\xef\xee\xe3 3"))
    with pytest.raises(BadInput, match="not utf-8: byte"):  # though all of it is one line, and that line is not UTF-8
        read_rows(tmp_path / "rows.json", TEXTS)


@pytest.mark.parametrize(
    ("document", "shape", "said"),
    [
        ({"train": [], "n": 1}, {}, r'members = \["train"\]'),
        ({"train": []}, {"members": ("test",)}, "no list called 'test'"),
        ("[]", {"members": ("test",)}, "holds a list and no members"),
        ('[["on", "a"]]', {}, r'names = \["text", "label"\]'),
        ('[["on"]]', {"names": TEXTS}, "1 values where `names` has 2"),
        ('[{"text": "on", "label": "a"}]', {"names": TEXTS}, "has names of its own"),
        ('[{"text": "on", "text": "off"}]', {}, "'text' is given twice"),
        ("[" * 100_000, {}, "not JSON"),
        ('{"text": "on"}\n{"text": "off"}', {}, "the file is .jsonl"),
        ("[1]", {}, "not a JSON object"),
        ("3", {}, "write a list of rows"),
        ("", {}, "holds no rows"),
        ({"on": ["a b", "c d"], "off": ["e f", "g h"]}, {}, "write a list of rows"),
        ({"text": ["a b", "c d"], "label": ["on"]}, {}, "write a list of rows"),
        ({"good dog": "on", "bad dog": "off"}, {}, "write a list of rows"),
    ],
)
def test_documents_that_hold_no_rows(tmp_path: Path, document: Any, shape: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read(tmp_path / "rows.json", document, TEXTS, **shape)


def test_squad(tmp_path: Path) -> None:
    rows = read(tmp_path / "dev-v1.1.json", SQUAD, ("question", "context", "answers", "title"), format="squad")
    assert [row["answers"] for row in rows] == [{"text": ["Ada"], "answer_start": [0]}, {"text": [], "answer_start": []}]
    assert {row["title"] for row in rows} == {"Ada"}
    with pytest.raises(BadInput, match="no list `data`"):
        read(tmp_path / "other.json", {"rows": []}, ("question",), format="squad")


def test_conll(tmp_path: Path) -> None:
    text = "-DOCSTART- O\n\nAda\tB-person\nLove lace\tI-person\n\t\n\nran\tO\n"
    rows = read(tmp_path / "dev.conll", text, ("tokens", "tags"))
    assert rows == [{"tokens": ["Ada", "Love lace"], "tags": ["B-person", "I-person"]}, {"tokens": ["ran"], "tags": ["O"]}]
    text = "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n"
    rows = read(tmp_path / "test.annotated", text, ("tokens", "tags"), format="conll", names=("tokens", "pos", "chunk", "tags"))
    assert rows == [{"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}]
    assert read(tmp_path / "test.annotated", text, ("tokens", "tags"), format="conll") == rows
    with pytest.raises(BadInput, match="line 2 has a word and no tag"):
        read(tmp_path / "dev.conll", "a\tO\nb\n", ("tokens", "tags"))
    with pytest.raises(BadInput, match="line 1 has 2 columns where `names` has 3"):
        read(tmp_path / "dev.conll", "a\tO\n", ("tokens", "tags"), names=("tokens", "pos", "tags"))


def test_comments_of_conll_are_no_words(tmp_path: Path) -> None:
    text = "# newdoc\n\n# sent_id = 1\n# O\nAda B-person\n\n# O\n\n#\tO\n"
    rows = read(tmp_path / "dev.conll", text, ("tokens", "tags"))
    assert rows == [
        {"tokens": ["#", "Ada"], "tags": ["O", "B-person"]},
        {"tokens": ["#"], "tags": ["O"]},
        {"tokens": ["#"], "tags": ["O"]},
    ]
    with pytest.raises(BadInput, match="line 2 has 3 columns where the sentence's first has 2"):
        read(tmp_path / "dev.conll", "Ada\tB-person\nran\tfast\tO\n", ("tokens", "tags"))


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("rows.jsonl", {"names": TEXTS}, "`names` says nothing of a .jsonl file"),
        ("rows.csv", {"members": ("a",)}, "`members` says nothing of a .csv file"),
        ("rows.annotated", {}, "format ="),
        ("rows.csv", {"format": "excel"}, "unknown kind of data file '.excel'"),
    ],
)
def test_what_a_format_does_not_take(tmp_path: Path, name: str, shape: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read(tmp_path / name, "a,b\n1,2\n", TEXTS, **shape)


def data(table: dict[str, Any], **more: Any) -> Data:
    return Data.model_validate({"train": "train.jsonl", "validation": "validation.jsonl", "test": table, **more})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"url": "https://x.org/a.csv"}, "needs the `sha256`"),
        ({"url": "http://x.org/a.csv", "sha256": "0" * 64}, "no https address of a file"),
        ({"url": "https://x.org/", "sha256": "0" * 64}, "no https address of a file"),
        ({"url": "https://me:secret@x.org/a.csv", "sha256": "0" * 64}, "no name and password"),
        ({"url": "https://x.org/a.csv", "path": "a.csv", "sha256": "0" * 64}, "not both"),
        ({"path": "a.csv", "sha256": "0" * 63 + "G"}, "64 digits"),
        ({}, "not neither"),
        ({"path": "hub:owner/name", "names": ["text"]}, "leave the other keys out"),
        ({"path": "a.csv", "names": ["text", "text"]}, "different names"),
        ({"path": "a.csv", "members": []}, "different names"),
        ({"path": "a.csv", "column": "text"}, "goes with `unlabelled`"),
        (3, "a table with `path` or `url`"),
    ],
)
def test_tables_that_say_no_source(table: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        data(table)


def test_a_plain_path_is_written_back_as_it_was() -> None:
    given = data({"path": "a.csv"}, unlabelled=["b.jsonl#question", {"path": "c.json", "members": ["rows"], "column": "text"}])
    written = given.model_dump(mode="json", exclude_unset=True)
    assert (written["test"], written["train"]) == ("a.csv", "train.jsonl")
    assert written["unlabelled"] == ["b.jsonl#question", {"path": "c.json", "members": ["rows"], "column": "text"}]
    assert Data.model_validate(written) == given


def test_the_digest_of_a_public_file_is_known_before_it_is_here(tmp_path: Path) -> None:
    """With the file in its place the digest, and so every key of the plan, is the same; another file is refused by name."""
    import hashlib

    table = b"on,a\noff,b\n"
    sha256 = hashlib.sha256(table).hexdigest()
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text(
            f'{{"text": "{split}", "label": "a"}}\n{{"text": "{split} b", "label": "b"}}\n'
        )
    given = data({"url": "https://x.org/rows.csv", "sha256": sha256, "names": ["text", "label"]})
    absent = sources_of(given, tmp_path, 7)
    (tmp_path / "cached").write_bytes(table)
    here = sources_of(given, tmp_path, 7, here={sha256: (tmp_path / "cached", "")})
    assert source_digest(absent) == source_digest(here)
    (tmp_path / "out").mkdir()
    record: Any = prepare(here, TEXTS, tmp_path / "out")
    assert record["splits"]["test"]["rows"] == 2 and record["notes"] == []
    stands_in = sources_of(given, tmp_path, 7, here={sha256: (tmp_path / "cached", "a conversion")})
    (tmp_path / "cached").write_bytes(table + b"off,a\n")
    assert source_digest(stands_in) != source_digest(absent)
    with pytest.raises(CheckFailed, match="where the recipe says"):
        source_digest(here)


def test_a_local_file_is_compared_with_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\non,a\n")
    place = Place(str(tmp_path / "a.csv"), sha256="0" * 64)
    with pytest.raises(CheckFailed, match="where the recipe says 0000"):
        source_digest(Sources(place, place, place))
