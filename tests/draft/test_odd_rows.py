"""Rows and options that a stranger has: read for what they are, or refused by name, and never taken for something else in silence."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.cli.drafting import Options, asked_of, recipe_name
from edgekit.draft import Asked, Draft, Unclear, draft
from edgekit.errors import BadInput
from tests.tiny_heads import made_model

SENTIMENT = ("negative", "neutral", "positive")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
STARS = ("1 star", "2 stars", "3 stars")
TEXTS = [f"the movie was good {number}" for number in range(30)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints by what they are for."""
    root = tmp_path_factory.mktemp("models")
    found = {"sentiment": made_model(root / "sentiment", SENTIMENT), "stars": made_model(root / "stars", STARS)}
    found["numbers"] = made_model(root / "numbers", ("1", "2", "3"))
    found["several"] = made_model(root / "several", SENTIMENT, problem_type="multi_label_classification")
    found["tags"] = made_model(root / "tags", TAGS)
    changed(found["tags"], architectures=["BertForTokenClassification"])
    return found


def changed(folder: Path, **config: Any) -> Path:
    path = folder / "config.json"
    document = json.loads(path.read_text()) | config
    path.write_text(json.dumps({name: value for name, value in document.items() if value is not None}))
    return folder


def rows(labels: Sequence[object], **names: str) -> list[dict[str, Any]]:
    return [
        {names.get("text", "text"): text, names.get("label", "label"): labels[number % len(labels)]}
        for number, text in enumerate(TEXTS)
    ]


def lines(path: Path, given: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    return path


def drafted(model: Path, data: Path | str, **said: Any) -> Draft:
    return draft(Asked(str(model), str(data), **said), None)


def seen(made: Draft) -> dict[str, str]:
    return {one.setting: one.value for one in made.seen}


def told(fault: BaseException) -> str:
    from edgekit.cli.drafting import _open

    return (_open(fault) if isinstance(fault, Unclear) else fault).text()  # type: ignore[attr-defined]


def refused(model: Path, data: Path | str, **said: Any) -> str:
    """What a script is told."""
    with pytest.raises((BadInput, Unclear)) as refusal:
        drafted(model, data, **said)
    return told(refusal.value)


@pytest.mark.parametrize(
    ("model", "labels", "what"),
    [
        ("numbers", [0, 1, 2], "the rows have '0'"),  # as names, 1 and 2 would be taken, and 0 for a number
        ("stars", [1, 2], "'1=1 star'"),  # 1 may be "1 star" or the second output
        ("sentiment", ["negative", 1, 2], "the rows have '1', '2'"),
    ],
)
def test_labels_that_may_be_names_or_numbers_are_asked_for(
    model: str, labels: list[object], what: str, models: dict[str, Path], tmp_path: Path
) -> None:
    assert what in refused(models[model], lines(tmp_path / "rows.jsonl", rows(labels)))


def test_numbers_that_can_only_be_those_of_outputs_are_read(models: dict[str, Path], tmp_path: Path) -> None:
    made = drafted(models["stars"], lines(tmp_path / "rows.jsonl", rows([0, 1, 2])))
    assert seen(made)["data.labels"] == "0: 1 star, 1: 2 stars, 2: 3 stars"


@pytest.mark.parametrize(
    ("model", "given", "what"),
    [
        ("sentiment", rows([{"name": "positive"}]), "column 'label' is no label that can be read: it is dict"),
        ("sentiment", rows([["positive"]]), "column 'label' is no label that can be read: it is list"),
        ("sentiment", rows([None]), "column 'label' is no label that can be read: it is null"),
        ("several", rows([[0, 1, 0], [1, 0, 0]], label="labels"), "holds a label twice"),
        ("several", [{"text": text, "positive": 1, "neutral": 0.5} for text in TEXTS], "positive, neutral hold numbers"),
        ("several", rows(["positive neutral", "neutral negative"], label="labels"), "holds several labels in one text"),
        ("tags", rows(["O,O,O,B-PER,O"], label="word_labels"), "holds several labels in one text"),
        ("tags", rows(["O", "B-PER"]), "column 'label' holds labels of the model"),
    ],
)
def test_labels_that_cannot_be_read_are_no_reason_to_do_without(
    model: str, given: list[dict[str, Any]], what: str, models: dict[str, Path], tmp_path: Path
) -> None:
    path = lines(tmp_path / "rows.jsonl", given)
    assert what in refused(models[model], path)
    assert (
        'answers = "original"'
        in drafted(models[model], path, answers="original", columns={"text": "text"} if model != "tags" else {}).text
    )


def test_a_column_whose_name_is_there_twice_is_told(models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label,label\n" + "".join(f"{text},positive,negative\n" for text in TEXTS))
    assert "several columns are named 'label'" in refused(models["sentiment"], path)
    assert "several columns have this name" in refused(models["sentiment"], path, columns={"label": "label"})


def test_a_table_without_a_header_keeps_its_first_row(models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"{row['text']},{row['label']}\n" for row in rows(SENTIMENT)))
    assert "the first line seems to be a row and no header" in refused(models["sentiment"], path)
    made = drafted(models["sentiment"], path, columns={"label": "negative", "text": TEXTS[0]})
    assert seen(made)["column label"] == "negative", "who names it says that it is a header"


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "document.jsonl", "indented.jsonl"])
def test_json_under_another_name_is_read_as_json(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    path = lines(tmp_path / name, rows(SENTIMENT))
    if not name.startswith("rows"):
        path.write_text(json.dumps(rows(SENTIMENT), indent=1 if name.startswith("indented") else None))
    made = drafted(models["sentiment"], path)
    assert (seen(made)["column text"], seen(made)["column label"]) == ("text", "label") and "format = " in made.text


@pytest.mark.parametrize("name", ["rows.txt", "rows.tsv"])
def test_lines_of_words_and_tags_are_sentences(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / name).write_text("-DOCSTART-\tO\n\n" + "".join(f"ada\tB-PER\nruns\tO\n{number}\tO\n\n" for number in range(30)))
    made = drafted(models["tags"], tmp_path / name)
    assert seen(made)["column tags"] == "tags" and 'format = "conll"' in made.text


def test_words_are_those_of_the_text_beside_as_many_tags(models: dict[str, Path], tmp_path: Path) -> None:
    given = [{"text": f"ada runs {number}", "tags": "B-PER O O", "note": "it is a long note of no use"} for number in range(30)]
    made = drafted(models["tags"], lines(tmp_path / "rows.jsonl", given))
    assert (seen(made)["column tokens"], seen(made)["column tags"]) == ("text", "tags")


def test_columns_are_those_of_most_rows(models: dict[str, Path], tmp_path: Path) -> None:
    made = drafted(
        models["sentiment"], lines(tmp_path / "rows.jsonl", [{"meta": "file of reviews, version 1"}, *rows(SENTIMENT)])
    )
    assert seen(made)["column text"] == "text", "the plan says that the first row lacks it"


def test_texts_that_no_tokenizer_takes_are_left_to_the_plan(models: dict[str, Path], tmp_path: Path) -> None:
    given = [*rows(SENTIMENT), {"text": "half of a pair: \ud800", "label": "positive"}]
    assert seen(drafted(models["sentiment"], lines(tmp_path / "rows.jsonl", given)))["column text"] == "text"


def test_a_file_without_a_sound_row_says_what_is_wrong_with_them(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "mac.csv").write_bytes(b"text,label\rgood,positive\r")
    assert "carriage return" in refused(models["sentiment"], tmp_path / "mac.csv")
    (tmp_path / "rows.jsonl").write_text("text,label\ngood,positive\n")
    assert "no row can be used: not JSON" in refused(models["sentiment"], tmp_path / "rows.jsonl")


def test_a_packed_file_under_the_name_of_a_text_is_called_what_it_is(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(gzip.compress(b"text,label\ngood,positive\n"))
    assert "is packed by gzip (.gz), and no text" in refused(models["sentiment"], tmp_path / "rows.csv")


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"columns": {"text": "nope"}}, "--column text=nope: no column has this name"),
        ({"columns": {"nope": "text"}}, "no task reads a 'nope'"),
        ({"columns": {"question": "text"}}, "--column question=text: text-classification reads"),
        ({"columns": {"text": "text", "label": "text"}}, "column 'text' is to be several of the task's"),
        ({"group": "customer"}, "--group customer: no column has this name"),
        ({"labels": {"nope": "positive"}}, "no row has 'nope'"),
        ({"labels": {"positive": "neutral"}, "answers": "original"}, "--label says what labels of the rows mean"),
    ],
)
def test_what_is_said_of_rows_is_used_or_refused(
    said: dict[str, Any], what: str, models: dict[str, Path], tmp_path: Path
) -> None:
    assert what in refused(models["sentiment"], lines(tmp_path / "rows.jsonl", rows(SENTIMENT)), **said)


def test_an_address_is_no_file(models: dict[str, Path]) -> None:
    assert "an address" in refused(models["sentiment"], "https://example.com/rows.csv")


@pytest.mark.parametrize("name", ["/no/such/folder", "./nope", "a/b/c", "two words", "owner/name@", "~/model"])
def test_a_model_that_is_no_folder_and_no_hub_id_asks_no_hub(name: str) -> None:
    with pytest.raises(BadInput, match="no such model folder"):
        draft(Asked(name), None)


def test_a_model_that_is_a_file_is_said_to_be_one(models: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match="a file, and no model folder"):
        draft(Asked(str(models["sentiment"] / "config.json")), None)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"model_type": None}, "no model_type"),
        ({"id2label": {"0": "negative", "2": "neutral", "3": "positive"}}, "does not number the labels"),
        ({"id2label": {"0": "positive", "1": "positive", "2": "neutral"}}, "duplicate labels: positive"),
        ({"id2label": ["negative", "neutral", "positive"]}, "does not number the labels"),
    ],
)
def test_what_config_json_does_not_say_is_told_before_labels_are_asked_for(
    config: dict[str, Any], what: str, models: dict[str, Path], tmp_path: Path
) -> None:
    model = changed(shutil.copytree(models["sentiment"], tmp_path / "model"), **config)
    assert what in refused(model, lines(tmp_path / "rows.jsonl", rows(SENTIMENT)))


def test_a_tokenizer_that_is_none_is_told(models: dict[str, Path], tmp_path: Path) -> None:
    model = shutil.copytree(models["sentiment"], tmp_path / "model")
    (model / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    assert "not a tokenizer" in refused(model, lines(tmp_path / "rows.jsonl", rows(SENTIMENT)))


def test_of_several_architectures_the_rows_choose(models: dict[str, Path], tmp_path: Path) -> None:
    both = ["BertForTokenClassification", "BertForSequenceClassification"]
    model = changed(shutil.copytree(models["sentiment"], tmp_path / "model"), architectures=both)
    assert seen(drafted(model, lines(tmp_path / "rows.jsonl", rows(SENTIMENT))))["task"] == "text-classification"


def test_options_that_say_nothing_are_told_all_at_once() -> None:
    options = Options(
        task="",
        column=None,
        label=None,
        answers="",
        group=" ",
        max_length=None,
        faster=None,
        smaller="1kB",
        lose="1",
        format="int5",
    )
    with pytest.raises(BadInput) as refusal:
        asked_of("", "", options)
    told = refusal.value.text()
    assert all(f"{name} is empty" in told for name in ("--model", "--data", "--task", "--answers", "--group"))
    assert "--smaller 1kB: write a number above 0, as in 8MB, in megabytes" in told and "--lose 1: write a share" in told
    assert "--format int5: write int8-weights or int4-weights" in told
    with pytest.raises(BadInput, match="--format int4: write int4-weights"):
        asked_of("m", None, replace(options, task=None, answers=None, group=None, smaller=None, lose=None, format="int4"))


def test_a_link_in_a_circle_is_no_file(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").symlink_to("rows.csv")
    assert "cannot be read" in refused(models["sentiment"], tmp_path / "rows.csv")
    assert recipe_name(Asked(str(models["sentiment"]), str(tmp_path / "rows.csv"))) == "sentiment-rows"


@pytest.mark.parametrize(
    ("name", "line"),
    [("r.txt", "__label__{label} {text}"), ("r.txt", "{label}\t{text}"), ("r.txt", "{text};{label}"), ("r.csv", "{text}^{label}"),
     ("r.csv", "{text}::{label}"), ("r.csv", "{text}   {label}"), ("h.txt", '"{text}","{label}"'), ("h.txt", "{number},{text}")],
)  # fmt: skip
def test_labels_within_texts_are_no_reason_to_do_without(name: str, line: str, models: dict[str, Path], tmp_path: Path) -> None:
    given = [{"text": "text", "label": "label", "number": "label"}] * (name != "r.txt")
    given += [{**row, "number": str(SENTIMENT.index(row["label"]))} for row in rows(SENTIMENT)]
    (tmp_path / name).write_text("".join(line.format(**row) + "\n" for row in given))
    assert "hold labels of the model beside them" in refused(models["sentiment"], tmp_path / name)
    assert seen(drafted(models["sentiment"], tmp_path / name, answers="original"))["data.answers"] == "original"


def test_what_excel_reads_of_a_first_line_is_no_header(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(
        "sep=;\ntext;label\n" + "".join(f"{row['text']};{row['label']}\n" for row in rows(SENTIMENT))
    )
    assert "says to Excel what separates" in refused(models["sentiment"], tmp_path / "r.csv")
