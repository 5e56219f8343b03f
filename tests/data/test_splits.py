"""The rows artifact: what is dropped, what is refused, and that the same source gives the same bytes."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.config.recipe import Split
from edgekit.data.disjoint import fold
from edgekit.data.sources import Place, Sources
from edgekit.data.splits import check_disjoint, check_labels, prepare, source_digest
from edgekit.errors import BadInput
from tests.tiny_images import as_text, write_png
from tests.tiny_sounds import write_wav

COLUMNS = ("text", "label")
TRAIN = [("lamp on", "on"), ("lamp off", "off"), ("fan on", "on"), ("fan off", "off")]
VALIDATION = [("heater on", "on"), ("heater off", "off")]
TEST = [("oven on", "on"), ("oven off", "off")]
Pairs = list[tuple[str, Any]]


def source(folder: Path, train: Pairs = TRAIN, validation: Pairs = VALIDATION, test: Pairs = TEST, **more: Any) -> Sources:
    folder.mkdir(exist_ok=True)
    paths = {}
    for split, pairs in (("train", train), ("validation", validation), ("test", test)):
        path = folder / f"{split}.jsonl"
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in pairs), encoding="utf-8")
        paths[split] = Place(str(path))
    return Sources(**paths, **more)


def made(tmp_path: Path, sources: Sources, name: str = "out") -> dict[str, Any]:
    out = tmp_path / name
    out.mkdir()
    return prepare(sources, COLUMNS, out)


def test_artifact_holds_canonical_rows_and_their_record(tmp_path: Path) -> None:
    record = made(tmp_path, source(tmp_path / "in"))
    assert json.loads((tmp_path / "out/data.json").read_text(encoding="utf-8")) == record
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "data.json",
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    assert record["labels"] == ["off", "on"]
    assert record["columns"] == ["text", "label"]
    assert record["source"]["train"] == "train.jsonl"
    for split, count in (("train", 4), ("validation", 2), ("test", 2)):
        data = (tmp_path / f"out/{split}.jsonl").read_bytes()
        assert record["splits"][split] == {"rows": count, "sha256": hashlib.sha256(data).hexdigest()}
    assert (tmp_path / "out/test.jsonl").read_text(encoding="utf-8").splitlines()[0] == '{"label": "on", "text": "oven on"}'


def test_same_source_elsewhere_gives_the_same_bytes_and_digest(tmp_path: Path) -> None:
    one, other = source(tmp_path / "one"), source(tmp_path / "other")
    made(tmp_path, one, "a")
    made(tmp_path, other, "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert source_digest(one) == source_digest(other)


def test_doubles_and_overlap_leave_training_only(tmp_path: Path) -> None:
    train = [*TRAIN, ("LAMP  on ", "on"), ("Lamp On", "off"), ("Heater\tON", "on"), ("oven off", "off")]
    record = made(tmp_path, source(tmp_path / "in", train, [*VALIDATION, VALIDATION[0]]))
    assert record["duplicates_removed"] == {"train": 1, "train_other_label": 1, "train_in_validation": 1, "train_in_test": 1}
    assert {split: entry["rows"] for split, entry in record["splits"].items()} == {"train": 4, "validation": 3, "test": 2}


FILED = {
    "text": [f"text {number}" for number in range(60)],
    "image": [as_text(write_png(np.full((2, 2, 3), 4 * number, np.uint8))) for number in range(60)],
    "audio": [as_text(write_wav(np.full(40, number / 100), 8000)) for number in range(60)],
}
NO_MODEL = "are the same as another under another label: no model is right on both"


@pytest.mark.parametrize(("column", "answer"), [("text", "label"), ("image", "label"), ("audio", "label"), ("audio", "text")])
def test_rows_that_stand_in_two_splits_are_told(column: str, answer: str, tmp_path: Path) -> None:
    """Of texts, images and sounds, and of speech, whose text is its answer."""

    def told(name: str, train: range, validation: range, test: range, **more: Any) -> dict[str, Any]:
        for split, numbers in (("train", train), ("validation", validation), ("test", test)):
            rows = ({column: FILED[column][number], answer: "ab"[number % 2]} for number in numbers)
            (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        places = {split: Place(str(tmp_path / f"{split}.jsonl")) for split in ("train", "validation", "test")}
        (tmp_path / name).mkdir()
        return prepare(Sources(**places, **more), (column, answer), tmp_path / name)

    assert told("apart", range(20), range(20, 40), range(40, 60))["notes"] == []
    few = told("few", range(21), range(20, 41), range(40, 60))["doubts"]
    assert few == [
        "1 of 21 rows of train were taken out because they stand in validation too",
        "1 of 21 rows of validation stand in test too and were kept: what is chosen on validation rows is then chosen on test rows",
    ]
    many = told("many", range(40), range(40, 60), range(36))
    assert many["doubts"] == ["warning: 36 of 40 rows of train were taken out because they stand in test too"]
    assert set(many["doubts"]) <= set(many["notes"]) and many["splits"]["train"]["rows"] == 4
    same = told("same", range(20), range(20, 40), range(20, 40))["doubts"]
    assert [text[:58] for text in same] == ["warning: 20 of 20 rows of validation stand in test too and"]
    with pytest.raises(BadInput, match="1 row of train is also in test") as caught:
        told("refused", range(21), range(40, 60), range(20, 40), on_overlap="refuse")
    assert caught.value.faults == ("train row 21, test row 1" + (f": {FILED['text'][20]!r}" if column == "text" else ""),)
    with pytest.raises(BadInput, match="has no rows once") as caught:
        told("none", range(20), range(20, 40), range(20))
    assert caught.value.faults == ("warning: 20 of 20 rows of train were taken out because they stand in test too",)


def test_the_same_input_under_two_labels_is_told(tmp_path: Path) -> None:
    test = [*((f"test {number}", "on") for number in range(20)), ("TEST 3", "off")]
    record = made(tmp_path, source(tmp_path / "in", [*TRAIN, ("Lamp on", "off"), TRAIN[0]], [*VALIDATION, VALIDATION[0]], test))
    assert record["doubts"] == [
        "warning: 1 of 6 rows of train were taken out because an earlier row is the same under another label",
        f"2 of 21 rows of test {NO_MODEL}",
    ]
    assert record["notes"] == [
        *record["doubts"],
        "1 of 6 rows of train were taken out because an earlier row of train is the same",
    ]


def test_what_stands_beside_folders_of_labels_is_told(tmp_path: Path) -> None:
    for number, label in enumerate(["cat", "dog"] * 20):
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / label / f"{number}.png").write_bytes(base64.b64decode(FILED["image"][number]))
    sources = Sources(file=Place(str(tmp_path / "photos" / "*" / "*.png")), split=Split(), seed=7)
    for name, said in (
        ("whole", []),
        ("more", ["photos: no file of *.png in 'cow', so that there is no such label",
                  "photos: beside the folders of labels, not read: 'README.txt', 'labels.csv'"]),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        assert prepare(sources, ("image", "label"), tmp_path / name)["notes"] == said
        (tmp_path / "photos" / "cow").mkdir(exist_ok=True)
        for beside in ("labels.csv", "README.txt", ".hidden"):
            (tmp_path / "photos" / beside).write_text("x")


def test_several_labels_in_another_order_are_the_same(tmp_path: Path) -> None:
    one, other, third = ["on", "off"], ["off", "on"], ["on"]
    sources = source(
        tmp_path / "in", [(text, [label]) for text, label in TRAIN], test=[("oven", one), ("oven", other), ("x", third)]
    )
    (tmp_path / "out").mkdir()
    assert prepare(sources, COLUMNS, tmp_path / "out", kinds={"label": "labels"})["doubts"] == []


def test_overlap_can_be_refused(tmp_path: Path) -> None:
    sources = source(tmp_path / "in", [*TRAIN, ("Oven  ON", "on")], on_overlap="refuse")
    with pytest.raises(BadInput, match="1 row of train is also in test") as caught:
        made(tmp_path, sources)
    assert caught.value.faults == ("train row 5, test row 1: 'Oven  ON'",)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_split_of_one_row(tmp_path: Path, split: str) -> None:
    with pytest.raises(BadInput, match=f"the {split} split has one row"):
        made(tmp_path, source(tmp_path / "in", **{split: [("lone", "on")]}))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_empty_split(tmp_path: Path, split: str) -> None:
    with pytest.raises(BadInput, match="holds no rows"):
        made(tmp_path, source(tmp_path / "in", **{split: []}))


def test_nothing_left_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the train split has no rows once duplicates"):
        made(tmp_path, source(tmp_path / "in", train=TEST))
    with pytest.raises(BadInput, match="the train split has one row once duplicates"):
        made(tmp_path, source(tmp_path / "in", train=[("a", "on")] * 3), "second")


def test_label_that_training_never_shows(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a label unknown to the training split") as caught:
        made(tmp_path, source(tmp_path / "in", test=[*TEST, ("oven dim", "onn"), ("fan dim", "onn")]))
    assert caught.value.where == "data, test"
    assert caught.value.faults == ("'onn' in rows 3, 4, perhaps 'on'",)


@pytest.mark.parametrize("known", [("a", "b"), None])
def test_a_0_or_1_for_each_of_two_labels_is_no_list_of_labels(tmp_path: Path, known: tuple[str, ...] | None) -> None:
    def prepared(lists: list[list[Any]], name: str) -> dict[str, Any]:
        rows = [(text, lists[number % len(lists)]) for number, (text, _) in enumerate([*TRAIN, *VALIDATION, *TEST])]
        sources = source(tmp_path / "in", rows[:4], rows[4:6], rows[6:], labels={"0": "a", "1": "b"})
        (tmp_path / name).mkdir()
        return prepare(sources, COLUMNS, tmp_path / name, kinds={"label": "labels"}, known=known)

    with pytest.raises(BadInput, match="every row has all labels, 'a', 'b'"):
        prepared([[1, 0], [0, 1]], "hot")
    assert prepared([[0], [0, 1]], "lists")["labels"] == ["a", "b"]


def test_labels_known_names_labels_rows_and_neighbours() -> None:
    check_labels([["a"], ["b", "a"]], ["b", "a"])
    with pytest.raises(BadInput) as caught:
        check_labels([["alarm"], ["alram"], *[["?"]] * 8], ["alarm", "timer"])
    assert caught.value.what == "2 labels unknown to the model, which has 'alarm', 'timer'"
    assert caught.value.faults == ("'?' in rows 3, 4, 5, 6, 7 and 3 more", "'alram' in row 2, perhaps 'alarm'")


def test_columns_are_renamed_on_the_way_in(tmp_path: Path) -> None:
    sources = source(tmp_path / "in")
    for split in ("train", "validation", "test"):
        path = tmp_path / "in" / f"{split}.jsonl"
        path.write_text(path.read_text(encoding="utf-8").replace('"text"', '"utterance"'), encoding="utf-8")
    sources = replace(sources, columns={"text": "utterance"})
    assert made(tmp_path, sources)["splits"]["train"]["rows"] == 4


def test_proof_disjoint() -> None:
    rows = [{"text": "Straße"}, {"text": "cafe\u0301"}]
    check_disjoint(rows, [{"text": "street"}])
    with pytest.raises(BadInput, match="2 rows of calibration are also in evaluation") as caught:
        check_disjoint(rows, [{"text": "x"}, {"text": "STRASSE"}, {"text": " CAF\u00c9"}])
    assert caught.value.faults[0] == "calibration row 1, evaluation row 2: 'Straße'"
    with pytest.raises(BadInput) as caught:
        check_disjoint(
            [{"text": f"{number}" * 100} for number in range(9)],
            [{"text": f"{number}" * 100} for number in range(9)],
            ("a", "b"),
        )
    assert len(caught.value.faults) == 5
    assert len(caught.value.faults[0]) < 120


@given(st.text())
def test_fold_is_stable_and_blind_to_case_and_space(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert fold(f"  {text}\n") == fold(text)


def test_digest_follows_contents_and_settings(tmp_path: Path) -> None:
    sources = source(tmp_path / "in")
    first = source_digest(sources)
    assert source_digest(replace(sources, on_overlap="refuse")) != first
    source(tmp_path / "in", test=[*TEST, ("more", "on")])
    assert source_digest(sources) != first
    assert source_digest(replace(sources, test=Place("hub:owner/name"))) != source_digest(
        replace(sources, test=Place("hub:owner/name@abc"))
    )
    built_in = Sources(builtin="intents", seed=7, rows=12_000)
    assert source_digest(built_in) != source_digest(replace(built_in, seed=8))


def test_digest_refuses_what_cannot_be_read(tmp_path: Path) -> None:
    sources = source(tmp_path / "in")
    with pytest.raises(BadInput) as caught:
        source_digest(replace(sources, train=Place("none.jsonl"), test=Place("neither.jsonl")))
    assert caught.value.faults == ("none.jsonl", "neither.jsonl")
    with pytest.raises(BadInput, match="not a hub data set"):
        source_digest(replace(sources, test=Place("hub:name")))
    with pytest.raises(BadInput, match="no built-in corpus 'intent'"):
        source_digest(Sources(builtin="intent", seed=1))


def test_built_in_corpus_as_an_artifact(tmp_path: Path) -> None:
    record = made(tmp_path, Sources(builtin="intents", seed=7, rows=400))
    assert sum(entry["rows"] for entry in record["splits"].values()) == 400
    assert not any(record["duplicates_removed"].values())
