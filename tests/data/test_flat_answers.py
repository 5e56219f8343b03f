"""Rows of question answering as people have them: answers as texts, with their places or without, and SQuAD's JSON in parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.data.reading import Shape
from edgekit.data.rows import read_rows
from edgekit.draft.rows import read_for_draft
from edgekit.errors import BadInput

CONTEXT = "Tom met Ann. Ann lives in Rome."
COLUMNS = ("question", "context", "answers")


def read(path: Path, **more: Any) -> Any:
    return [row["answers"] for row in read_rows(path, COLUMNS, **more)]


@pytest.mark.parametrize(
    ("names", "values", "starts"),
    [
        (("question", "context", "answer", "answer_start"), ("who", CONTEXT, "Ann", 13), [13]),
        (("q", "passage", "answer_text"), ("who", CONTEXT, "Ann"), [8]),
        (("question", "context", "answers"), ("who", CONTEXT, ["Ann", "Rome"]), [8, 26]),
        (("question", "context", "answers"), ("who", CONTEXT, [{"text": "Ann", "answer_start": 13}]), [13]),
        (("question", "context", "answer", "answer_start"), ("who", CONTEXT, "", -1), []),
        (("question", "context", "answers"), ("who", CONTEXT, []), []),
    ],
)
def test_answers_are_at_their_places(
    names: tuple[str, ...], values: tuple[object, ...], starts: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(dict(zip(names, values, strict=True))) + "\n")
    (answers,) = read(path)
    assert answers["answer_start"] == starts and len(answers["text"]) == len(starts)


def test_a_table_of_answers_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f'question,context,answer,answer_start\nwho,"{CONTEXT}",Ann,13\nwhen,"{CONTEXT}",,\n')
    assert read(path) == [{"text": ["Ann"], "answer_start": [13]}, {"text": [], "answer_start": []}]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"answer": "Paris"}, "'Paris' is nowhere in the context"),
        ({"answer": "Ann", "answer_start": 2}, "'Ann' is not at character 2"),
        ({"answer": "Ann", "answer_start": "x"}, "where they begin is 'x'"),
        ({"answers": ["Ann"], "answer_start": [1, 2]}, "has 1 answers, and where they begin is '[1, 2]'"),
    ],
)
def test_an_answer_without_a_place_is_refused_by_its_line(more: dict[str, object], says: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = {"question": "who", "context": CONTEXT, **({"answers": ["Ann"]} if "answers" in more else {"answer": "Ann"})}
    path.write_text("".join(json.dumps(row) + "\n" for row in (good, {**good, **more})))
    with pytest.raises(BadInput) as fault:
        read(path)
    assert says in fault.value.text() and "rows.jsonl:2" in fault.value.text()


def test_places_in_a_parquet_file_are_read(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    row = {"q": "who", "context": CONTEXT, "answer": "Ann", "answer_start": 13, "other": 1}
    parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    assert read(path) == [{"text": ["Ann"], "answer_start": [13]}]


def test_parts_of_squads_json_are_read(tmp_path: Path) -> None:
    paragraph = {"context": CONTEXT, "qas": [{"id": "1", "question": "who", "answers": [{"text": "Ann", "answer_start": 13}]}]}
    article = {"title": "t", "paragraphs": [paragraph]}
    for number, document in enumerate(({"version": "1.1", "data": [article]}, [article], article, [paragraph])):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(document))
        assert read_for_draft(str(path)).places["file"].more == {"format": "squad"}
        assert read(path, shape=Shape("squad")) == [{"text": ["Ann"], "answer_start": [13]}]
