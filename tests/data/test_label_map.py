"""Labels of rows that are spelled otherwise than the model's: read where they can mean one name only, and said; else refused."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.data.label_map import renamed_labels, told
from edgekit.data.sources import Place, Sources
from edgekit.data.splits import look, prepare
from edgekit.errors import BadInput

PLAIN = ("LABEL_0", "LABEL_1")
NAMES = ("NEGATIVE", "POSITIVE")


@pytest.mark.parametrize(
    ("found", "known", "wanted"),
    [
        (["0", "1"], PLAIN, {"0": "LABEL_0", "1": "LABEL_1"}),
        (["0.0", "1.0"], PLAIN, {"0.0": "LABEL_0", "1.0": "LABEL_1"}),
        (["False", "true"], PLAIN, {"False": "LABEL_0", "true": "LABEL_1"}),
        (["LABEL_1", "LABEL_0"], ("0", "1"), {"LABEL_0": "0", "LABEL_1": "1"}),
        (["2", "0"], ("LABEL_0", "LABEL_1", "LABEL_2"), {"2": "LABEL_2", "0": "LABEL_0"}),
        (["negative", " Positive "], NAMES, {"negative": "NEGATIVE", " Positive ": "POSITIVE"}),
        (["very  good", "bad"], ("Bad", "very good"), {"very  good": "very good", "bad": "Bad"}),
        (["NEGATIVE", "positive"], NAMES, {"positive": "POSITIVE"}),
        (["us", "US"], ("us", "US"), {}),
        (["e\u0301te\u0301", "b"], ("\u00e9t\u00e9", "b"), {"e\u0301te\u0301": "\u00e9t\u00e9"}),
        (["e\u0301t", "\u00e9t", "b"], None, {"e\u0301t": "\u00e9t"}),
        # What separates words is no other name where one label is one name.
        (
            ["Insurance", "Insurance Change", "credit-limit", "TireChange", "HTMLForm"],
            ("insurance", "insurance_change", "credit_limit", "tire_change", "html_form"),
            {
                "Insurance": "insurance",
                "Insurance Change": "insurance_change",
                "credit-limit": "credit_limit",
                "TireChange": "tire_change",
                "HTMLForm": "html_form",
            },
        ),
        (["re sign", "resign"], ("re_sign", "resign"), {"re sign": "re_sign"}),
        (["B PER", "O"], ("O", "B-PER", "I-PER"), {"B PER": "B-PER"}),
        (["re sign"], ("re_sign", "re-sign"), {}),
        (["tire change", "TireChange"], ("tire_change", "tires"), {}),
        (["tire change", "tire_change"], ("tire_change", "tires"), {}),
        (["-1", "1"], ("0", "1"), {}),
        (["score -1", "1 0"], ("score_1", "10"), {}),
        # What could be any output stays, and is refused with its rows: numbers of outputs with names, numbers beyond them, other names.
        (["0", "1"], NAMES, {}),
        (["1", "2"], PLAIN, {}),
        (["true"], ("LABEL_0", "LABEL_1", "LABEL_2"), {}),
        (["neg", "-1"], PLAIN, {}),
        (["0"], ("LABEL_1", "LABEL_0"), {}),
    ],
)
def test_labels_that_can_mean_one_name(found: list[str], known: tuple[str, ...] | None, wanted: dict[str, str]) -> None:
    assert {one.label: one.name for one in renamed_labels(found, {}, known)} == wanted


def test_labels_that_may_mean_several_are_refused() -> None:
    with pytest.raises(BadInput, match="'Us' may be 'US' or 'us'") as caught:
        renamed_labels(["Us", "it"], {}, ("US", "us", "it"))
    assert caught.value.where == "data, labels"


def test_the_recipe_says_it_first() -> None:
    renamed = renamed_labels(["0", "1"], {"0": "POSITIVE", "1": "NEGATIVE"}, NAMES)
    assert told(renamed) == ["labels of the rows are read, as the recipe says: '0' as 'POSITIVE', '1' as 'NEGATIVE'"]
    counted_from_one = renamed_labels(["1", "2", "3"], {"3": "LABEL_0"}, ("LABEL_0", "LABEL_1", "LABEL_2"))
    assert [one.label for one in counted_from_one] == ["3"], "the others are not numbers of outputs beside it, and are refused"
    with pytest.raises(BadInput) as caught:
        renamed_labels(["0", "1"], {"2": "POSITIVE", "1": "good"}, NAMES)
    assert caught.value.faults == (
        "'2' is in no row; the rows have '0', '1'",
        "'1' is to be 'good', which the model does not have; it has 'NEGATIVE', 'POSITIVE'",
    )


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (["on", "off"], {}),
        ([" on", "on", "off"], {" on": "on"}),
        (["0", "0.0", "1.0"], {"0.0": "0"}),
        (["0.0", "1.0"], {}),
        (["True", "true", "False"], {"True": "true"}),
        (["On", "on", "007", "7"], {}),
    ],
)
def test_one_label_of_a_new_head_has_one_spelling(found: list[str], wanted: dict[str, str]) -> None:
    assert {one.label: one.name for one in renamed_labels(found, {}, None)} == wanted


def sources(folder: Path, labels: dict[str, list[Any]], **more: Any) -> Sources:
    paths = {}
    for split, values in labels.items():
        rows = [{"text": f"{split} {number}", "label": label} for number, label in enumerate(values)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths[split] = Place(str(folder / f"{split}.jsonl"))
    return Sources(**paths, **more)


def test_rows_have_the_models_names_and_the_record_says_what_was_read(tmp_path: Path) -> None:
    given = sources(tmp_path, {"train": [0, 1], "validation": [0, 0], "test": [1, 1.0]})
    (tmp_path / "out").mkdir()
    said = ["labels of the rows are read, by the number of the output: '0' as 'LABEL_0', '1' as 'LABEL_1'"]
    assert look(given, ("text", "label"), (), {}, PLAIN) == said
    record = prepare(given, ("text", "label"), tmp_path / "out", known=PLAIN)
    assert record["notes"] == said and record["labels_read_as"] == {"0": "LABEL_0", "1": "LABEL_1"}
    assert json.loads((tmp_path / "out/test.jsonl").read_text().splitlines()[0])["label"] == "LABEL_1"


def test_a_class_that_the_model_knows_need_not_be_trained_on(tmp_path: Path) -> None:
    given = sources(tmp_path, {"train": ["a", "b"], "validation": ["a", "c"], "test": ["c", "a"]})
    assert look(given, ("text", "label"), (), {}, ("a", "b", "c")) == []
    with pytest.raises(BadInput, match="unknown to the training split"):
        look(given, ("text", "label"), (), {}, None)


def test_a_new_heads_classes_that_may_be_one_or_none_are_told(tmp_path: Path) -> None:
    labels = ["On", "on", "off", "nan"]
    given = sources(tmp_path, dict.fromkeys(("train", "validation", "test"), labels))
    case, missing = look(given, ("text", "label"), (), {}, None) or []
    assert case.startswith(
        "warning: labels that are the same but for case, blanks, hyphens and underscores are told apart: 'On' and 'on'"
    )
    assert missing.startswith("warning: 'nan' counts as a label")
    assert look(replace(given, labels={"On": "on", "nan": "off"}), ("text", "label"), (), {}, None) == [
        "labels of the rows are read, as the recipe says: 'On' as 'on', 'nan' as 'off'",
        "several labels of the rows are read as one, and not told apart: 'off' is 'nan' (3 times), 'off' (3 times)",
    ]
    assert look(given, ("text", "label"), (), {}, ("On", "on", "off", "nan")) == [], "names of the model's own outputs"


def test_labels_that_become_one_are_told_with_how_often_each_is_there(tmp_path: Path) -> None:
    """Silent before: a fix that was offered for 'Insurance Change' made it 'insurance', as 'Insurance' is."""
    given = sources(
        tmp_path, {key: ["Insurance", "Insurance Change", "taxes", "Taxes"] for key in ("train", "validation", "test")}
    )
    given, known = replace(given, labels={"Insurance Change": "insurance"}), ("insurance", "taxes")
    (tmp_path / "out").mkdir()
    record = prepare(given, ("text", "label"), tmp_path / "out", known=known)
    (told_once,) = record["doubts"]
    assert told_once in record["notes"] and str(told_once).endswith(
        "'insurance' is 'Insurance' (3 times), 'Insurance Change' (3 times)"
    )


def test_a_name_that_two_labels_of_a_row_are_applies_once(tmp_path: Path) -> None:
    given = sources(tmp_path, {key: [["fine", "coarse"], ["other"]] for key in ("train", "validation", "test")})
    (tmp_path / "out").mkdir()
    prepare(
        replace(given, labels={"fine": "coarse"}),
        ("text", "label"),
        tmp_path / "out",
        kinds={"label": "labels"},
        known=("coarse", "other"),
    )
    assert json.loads((tmp_path / "out/test.jsonl").read_text().splitlines()[0])["label"] == ["coarse"]


def test_labels_that_the_model_does_not_have_are_named_on_both_sides(tmp_path: Path) -> None:
    given = sources(tmp_path, {"train": [0, 1], "validation": [0, 0], "test": [1, 1]})
    with pytest.raises(BadInput) as caught:
        look(given, ("text", "label"), (), {}, NAMES)
    assert caught.value.what == "2 labels unknown to the model, which has 'NEGATIVE', 'POSITIVE'"
    assert caught.value.where == "data, train" and 'labels = { "0" = "NEGATIVE", "1" = "POSITIVE" } in [data]' in str(
        caught.value.fix
    )


def test_a_suggested_label_claims_nothing_that_nobody_said(tmp_path: Path) -> None:
    """A number is paired with the output of that number alone; what the recipe says already stays, and all of it is TOML."""
    cases = (
        ([1, 2], ("long", "NEGATIVE", "short"), {}, {"1": "NEGATIVE", "2": "short"}),
        ([1, 2], NAMES, {}, {"1": "NAME"}),
        (["good", 'b"ad'], NAMES, {"good": "POSITIVE"}, {"good": "POSITIVE", 'b"ad': "NAME"}),
    )
    for labels, known, said, wanted in cases:
        given = replace(sources(tmp_path, dict.fromkeys(("train", "validation", "test"), labels)), labels=said)
        with pytest.raises(BadInput) as caught:
            look(given, ("text", "label"), (), {}, known)
        fix = str(caught.value.fix)
        assert tomllib.loads(fix[fix.index("labels = ") : fix.index("}") + 1]) == {"labels": wanted}


def test_large_files_are_left_to_the_first_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = sources(tmp_path, {"train": [0, 1], "validation": [0, 0], "test": [1, 7]})
    monkeypatch.setattr("edgekit.data.formats.QUICK", 10)
    assert look(given, ("text", "label"), (), {}, PLAIN) is None
