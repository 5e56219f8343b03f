"""Rows in other forms than a task's columns: one passage a row, positives and negatives, conversations, prompts with completions."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.data.forms import form_of, forms
from edgekit.data.rows import RowCheck, read_rows
from edgekit.errors import BadInput

RANKING = ("query", "passages", "relevance")


def table(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def written(messages: Any, beside: Any) -> tuple[str | None, str | None]:
    """As a template would."""
    if messages[0]["role"] == "assistant":
        return None, "begins with an answer"
    return "".join(f"<{message['role']}>{message['content']}" for message in messages), None


CHAT = RowCheck(lambda row: None, written)


def test_one_passage_a_row_is_gathered_by_query_in_order(tmp_path: Path) -> None:
    path = table(
        tmp_path / "r.csv", ["query", "document", "relevance"],
        [["a", "one", "1"], ["b", "two", "0"], ["a", "three, and more", "0"], ["b", "four", "2"]],
    )  # fmt: skip
    assert read_rows(path, RANKING, {"passages": "document"}) == [
        {"query": "a", "passages": ["one", "three, and more"], "relevance": [1.0, 0.0]},
        {"query": "b", "passages": ["two", "four"], "relevance": [0.0, 2.0]},
    ]
    marked = lines(
        tmp_path / "r.jsonl", [{"query": "a", "passages": f"p {number}", "relevance": number == 1} for number in range(3)]
    )
    assert read_rows(marked, RANKING) == [{"query": "a", "passages": ["p 0", "p 1", "p 2"], "relevance": [0.0, 1.0, 0.0]}]


def test_rows_that_hold_lists_already_stay_as_they_are(tmp_path: Path) -> None:
    rows = [{"query": "a", "passages": ["x", "y"], "relevance": [1, 0]}]
    assert read_rows(lines(tmp_path / "r.jsonl", rows), RANKING) == [
        {"query": "a", "passages": ["x", "y"], "relevance": [1.0, 0.0]}
    ]
    packed = table(tmp_path / "r.csv", list(RANKING), [["a", '["x", "y"]', "[1, 0]"]])
    assert read_rows(packed, RANKING) == [{"query": "a", "passages": ["x", "y"], "relevance": [1.0, 0.0]}]


def test_a_passage_that_cannot_be_used_is_told_with_its_line(tmp_path: Path) -> None:
    path = table(tmp_path / "r.csv", ["query", "passages", "relevance"], [["a", "x", "1"], ["a", "y", "much"], ["a", " ", "0"]])
    with pytest.raises(BadInput) as fault:
        read_rows(path, RANKING)
    assert "line 3: 'relevance' is not a number" in fault.value.text() and "line 4: 'passages' is empty" in fault.value.text()


@pytest.mark.parametrize(
    "row",
    [
        {"query": "a", "positive": "x", "negative": "y"},
        {"anchor": "a", "positives": ["x"], "negatives": ["y"]},
        {"question": "a", "pos": ["x"], "hard_negatives": ["y"]},
        {"query": "a", "positive_passages": [{"docid": "1", "text": "x"}], "negative_passages": [{"docid": "2", "text": "y"}]},
    ],
)
def test_positives_and_negatives_are_relevance(row: dict[str, Any], tmp_path: Path) -> None:
    assert read_rows(lines(tmp_path / "r.jsonl", [row]), RANKING) == [
        {"query": "a", "passages": ["x", "y"], "relevance": [1.0, 0.0]}
    ]


def test_conversations_are_written_as_the_model_has_them(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    shared = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]
    for row in ({"messages": said}, {"conversations": shared}, {"prompt": said[:1], "completion": said[1:]}):
        assert read_rows(lines(tmp_path / "r.jsonl", [row]), ("text",), check=CHAT) == [{"text": "<user>hi<assistant>ho"}]
    faulty = lines(tmp_path / "f.jsonl", [{"messages": said}, {"messages": []}, {"messages": said[1:]}, {"messages": ["hi"]}])
    with pytest.raises(BadInput) as fault:
        read_rows(faulty, ("text",), check=CHAT)
    assert "lines 2, 4: 'messages' is no list of messages" in fault.value.text()
    assert "line 3: 'messages': begins with an answer" in fault.value.text()
    with pytest.raises(BadInput, match="has no chat template"):
        read_rows(faulty, ("text",))


def test_what_stands_beside_messages_is_part_of_the_conversation(tmp_path: Path) -> None:
    """A system message in a column of its own (LLaMA-Factory), roles in capitals, calls without content, tools as JSON in a text."""
    talk = [{"from": "Human", "value": "hi"}, {"from": "Assistant", "value": None, "tool_calls": [1], "function_call": None}]
    row = {"conversations": talk, "system": "be brief", "tools": '[{"name": "f"}]'}
    seen: list[Any] = []
    check = RowCheck(lambda row: None, lambda *said: seen.append(said) or ("a text", None))  # type: ignore[func-returns-value]
    assert read_rows(lines(tmp_path / "r.jsonl", [row]), ("text",), check=check) == [{"text": "a text"}]
    messages, beside = seen[0]
    assert messages[0] == {"role": "system", "content": "be brief"} and messages[1] == {"role": "user", "content": "hi"}
    assert messages[2] == {"role": "assistant", "content": "", "tool_calls": [1]} and beside == {"tools": row["tools"]}
    twice = {"messages": [{"role": "system", "content": "be long"}, {"role": "user", "content": "hi"}], "system": "be brief"}
    with pytest.raises(BadInput, match="two system messages"):
        read_rows(lines(tmp_path / "r.jsonl", [twice]), ("text",), check=check)


def test_prompts_and_completions_follow_each_other_or_become_messages(tmp_path: Path) -> None:
    path = table(tmp_path / "r.csv", ["instruction", "input", "output"], [["add", "1 and 2", "3"], ["greet", "", "hello"]])
    assert read_rows(path, ("text",)) == [{"text": "add\n1 and 2\n3"}, {"text": "greet\nhello"}]
    assert read_rows(path, ("text",), check=CHAT)[0] == {"text": "<user>add\n\n1 and 2<assistant>3"}
    spaced = table(tmp_path / "s.csv", ["prompt", "completion"], [["once upon", " a time"]])
    assert read_rows(spaced, ("text",)) == [{"text": "once upon a time"}]


def test_a_text_of_its_own_is_read_before_any_form(tmp_path: Path) -> None:
    row = {"text": "whole", "prompt": "a", "completion": "b"}
    assert read_rows(lines(tmp_path / "r.jsonl", [row]), ("text",)) == [{"text": "whole"}]
    assert form_of({"prompt": "a", "completion": "b"}, {"text": "prompt"}) is None
    assert read_rows(lines(tmp_path / "r.jsonl", [{"prompt": "a", "completion": "b"}]), ("text",), {"text": "prompt"}) == [
        {"text": "a"}
    ]


def test_forms_read_parquet_too(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"id": 1, "query": "a", "positive": ["x"], "negative": ["y", "z"]}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    assert read_rows(tmp_path / "r.parquet", RANKING) == [
        {"query": "a", "passages": ["x", "y", "z"], "relevance": [1.0, 0.0, 0.0]}
    ]


def test_every_form_gives_columns_of_a_task() -> None:
    from edgekit.tasks import find_task, task_names

    wanted = [set(find_task(name).columns) for name in task_names()]
    for form in forms():
        assert any(set(form.gives) <= columns for columns in wanted), form.title


@pytest.mark.parametrize(
    ("tokens", "tags"),
    [
        ('["it\'s", "ada"]', '["O", "B-per"]'),
        ("[\"it's\", 'ada']", "['O', 'B-per']"),
        ("[\"it's\" 'ada']", "['O'\n 'B-per']"),
        ("it's ada", "O B-per"),
    ],
    ids=["JSON", "Python", "numpy", "white space"],
)
def test_words_and_tags_in_a_table_are_lists(tokens: str, tags: str, tmp_path: Path) -> None:
    path = table(tmp_path / "r.csv", ["tokens", "tags"], [[tokens, tags]])
    assert read_rows(path, ("tokens", "tags")) == [{"tokens": ["it's", "ada"], "tags": ["O", "B-per"]}]
    numbered = table(tmp_path / "n.csv", ["tokens", "tags"], [[tokens, "[0, 3]"], [tokens, "[0 3]"], [tokens, "0 3"]])
    assert [row["tags"] for row in read_rows(numbered, ("tokens", "tags"))] == [["0", "3"]] * 3


@pytest.mark.parametrize("value", ["", "[", "['a', __import__('os')]", "['a' ... 'b']", "[['a']]", "['a\\']"])
def test_what_is_no_list_is_no_code_either(value: str) -> None:
    from edgekit.data.columns import _python_list

    assert _python_list(value) is None


def test_one_word_a_row_is_gathered_by_sentence(tmp_path: Path) -> None:
    words = [["Sentence: 1", "ada", "B-per"], ["", "runs", "O"], ["Sentence: 2", "bob", "B-per"]]
    first_alone = table(tmp_path / "a.csv", ["Sentence #", "Word", "Tag"], words)
    in_all = table(
        tmp_path / "b.csv", ["sentence_id", "Word", "Tag"], [["1", *words[0][1:]], ["1", *words[1][1:]], ["2", *words[2][1:]]]
    )
    for path in (first_alone, in_all):
        assert read_rows(path, ("tokens", "tags"), {"tokens": "Word", "tags": "Tag"}) == [
            {"tokens": ["ada", "runs"], "tags": ["B-per", "O"]}, {"tokens": ["bob"], "tags": ["B-per"]},
        ]  # fmt: skip
    faulty = table(tmp_path / "c.csv", ["Sentence #", "tokens", "tags"], [*words, ["", " ", "O"]])
    with pytest.raises(BadInput, match="'tokens' is empty"):
        read_rows(faulty, ("tokens", "tags"))


SAID = "Steven Spielberg met  Al Pacino's agent."


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"text": SAID, "label": [[0, 16, "per"], [22, 31, "per"]]}, {"tokens": "text", "tags": "label"}),
        (
            {"content": SAID, "entities": [{"start": 22, "end": 31, "label": "per"}, {"start": 0, "end": 16, "label": "per"}]},
            {},
        ),
        ({"data": SAID, "spans": [{"start_offset": 0, "end_offset": 16, "type": "per"}, [22, 31, "per"]]}, {}),
        ({"column 1": SAID, "column 2": {"entities": [[0, 16, "per"], [22, 31, "per"]]}}, {}),
    ],
    ids=["doccano", "objects", "offsets", "spaCy"],
)
def test_spans_of_a_text_are_words_with_tags(values: dict[str, Any], names: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(values) + "\n")
    (row,) = read_rows(tmp_path / "rows.jsonl", ("tokens", "tags"), names)
    assert row["tokens"] == ["Steven", "Spielberg", "met", "Al", "Pacino's", "agent."]
    assert row["tags"] == ["B-per", "I-per", "O", "B-per", "I-per", "O"]


@pytest.mark.parametrize(
    ("spans", "says"),
    [
        ([[0, 99, "per"]], "per from 0 to 99, and the text has 40 characters"),
        ([[5, 5, "per"]], "and the text has"),
        ([[20, 22, "per"]], "is white space"),
        ([[0, 6, "per"], [3, 16, "loc"]], "shares a word with another entity"),
        ([[0, 6]], "is no list of spans"),
        ("per", "is no list of spans"),
    ],
)
def test_spans_that_cannot_be_tags_are_told_with_their_row(spans: Any, says: str, tmp_path: Path) -> None:
    rows = [{"text": SAID, "label": []}, {"text": SAID, "label": spans}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BadInput, match=says) as fault:
        read_rows(tmp_path / "rows.jsonl", ("tokens", "tags"), {"tokens": "text", "tags": "label"})
    assert fault.value.where == f"{tmp_path / 'rows.jsonl'}:2"
