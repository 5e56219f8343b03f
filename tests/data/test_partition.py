"""One file as three splits: no text and no group in two of them, labels in their shares, the same in whatever order rows stand."""

from __future__ import annotations

import json
import random
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.config.recipe import Split
from edgekit.config.toml import parse
from edgekit.data.disjoint import fold
from edgekit.data.partition import partition
from edgekit.data.rows import Row
from edgekit.data.sources import Place, Sources
from edgekit.data.splits import look, prepare, source_digest
from edgekit.errors import BadInput

SPLIT = Split()
SHARES = ("train", "validation", "test")
words = st.text(alphabet="abAB ", min_size=1, max_size=4).filter(str.strip)


def rows_of(pairs: list[tuple[str, str]]) -> list[Row]:
    return [{"text": text, "label": label} for text, label in pairs]


def many(count: int = 400) -> list[Row]:
    """Labels of 1/2, 1/4, 1/8 of the rows, and so on."""
    return [{"text": f"text {number}", "label": f"l{(number & -number).bit_length()}"} for number in range(1, count + 1)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(words, st.sampled_from("xyz"), st.integers(0, 6)), min_size=1, max_size=60), st.integers(0, 3))
def test_rows_are_all_there_and_what_belongs_together_stays_together(given_rows: list[tuple[str, str, int]], seed: int) -> None:
    rows, groups = rows_of([(text, label) for text, label, _ in given_rows]), [str(group) for *_, group in given_rows]
    try:
        made = partition(rows, SPLIT, seed, groups)
    except BadInput as fault:
        assert "too few to split" in fault.text() or "are not to be split" in fault.text()
        return
    assert Counter(map(str, rows)) == Counter(str(row) for part in made.values() for row in part)
    home: dict[str, str] = {}
    of_row = {id(row): name for name, part in made.items() for row in part}
    for row, group in zip(rows, groups, strict=True):
        for key in (f"text {fold(str(row['text']))}", f"group {group}"):
            assert home.setdefault(key, of_row[id(row)]) == of_row[id(row)]


def test_every_label_is_in_every_split_in_its_share() -> None:
    made = partition(many(), SPLIT, 7)
    have = {name: Counter(row["label"] for row in part) for name, part in made.items()}
    for label, count in Counter(row["label"] for row in many()).items():
        for name, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
            assert abs(have[name][label] - share * count) <= 1, (label, name)
        assert have["train"][label] >= 1


def test_the_order_of_rows_changes_nothing_and_the_seed_does() -> None:
    shuffled = many()
    random.Random(3).shuffle(shuffled)
    one, other, seeded = partition(many(), SPLIT, 7), partition(shuffled, SPLIT, 7), partition(many(), SPLIT, 8)
    for name in one:
        assert {str(row) for row in one[name]} == {str(row) for row in other[name]}
    assert {str(row) for row in one["test"]} != {str(row) for row in seeded["test"]}


def test_rows_of_several_labels_count_as_their_rarest_and_numbers_are_no_labels() -> None:
    several: list[Row] = [
        {"text": f"t{number}", "labels": ["often", *(["rare"] if number % 20 == 0 else [])]} for number in range(400)
    ]
    made = partition(several, SPLIT, 7)
    assert [sum("rare" in str(row["labels"]) for row in made[name]) for name in ("train", "validation", "test")] == [14, 3, 3]
    numbers: list[Row] = [{"text": f"t{number}", "label": number / 7} for number in range(100)]
    assert [len(part) for part in partition(numbers, SPLIT, 7).values()] == [70, 15, 15]


@pytest.mark.parametrize("count", [1, 5, 11])
def test_too_few_rows_say_how_many_are_needed(count: int) -> None:
    with pytest.raises(BadInput) as fault:
        partition(many(count), SPLIT, 7)
    assert "too few to split" in fault.value.text() and "give 14 rows or more" in fault.value.text()


def test_one_file_ends_in_the_artifact_of_three(tmp_path: Path) -> None:
    path = tmp_path / "tickets.jsonl"
    rows = [{**row, "customer": f"c{number // 3}"} for number, row in enumerate(many(90))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = Sources(file=Place(str(path)), split=Split(group="customer"), seed=7)
    (tmp_path / "out").mkdir()
    record = prepare(sources, ("text", "label"), tmp_path / "out")
    lines = {name: (tmp_path / f"out/{name}.jsonl").read_text().splitlines() for name in ("train", "validation", "test")}
    splits = {name: list(map(json.loads, part)) for name, part in lines.items()}
    assert sum(map(len, splits.values())) == 90 and set(splits["train"][0]) == {"text", "label"}
    customers = [{int(row["text"].split()[1]) - 1 for row in part} for part in splits.values()]
    assert not {number // 3 for number in customers[0]} & {number // 3 for number in customers[2]}
    assert record["source"] == {
        "file": "tickets.jsonl", "split": {"validation": 0.15, "test": 0.15, "group": "customer"}, "seed": 7, "on_overlap": "drop",
    }  # fmt: skip
    digests = {
        source_digest(Sources(file=Place(str(path)), split=split, seed=seed))
        for split in (Split(), Split(test=0.2))
        for seed in (7, 8)
    }
    assert len(digests) == 4, "shares and seed are part of what rows are"


def test_a_column_of_groups_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "tickets.csv"
    path.write_text("text,label\n" + "".join(f"text {number},a\n" for number in range(30)))
    with pytest.raises(BadInput, match="no column 'customer'") as fault:
        prepare(Sources(file=Place(str(path)), split=Split(group="customer")), ("text", "label"), tmp_path)
    assert 'write split = { group = "NAME" } in [data]' in str(fault.value.fix) and "columns = {" not in str(fault.value.fix)


def test_a_column_says_which_split_a_row_is_of(tmp_path: Path) -> None:
    """As tables of many data sets do; what no row is of is drawn from the training rows, without those that stand in another split."""
    rows = [{"text": f"text {number % 95}", "label": "ab"[number % 2], "part": "Train"} for number in range(100)]
    for number, row in enumerate(rows):
        row["part"] = "Train" if number < 60 else " dev" if number < 80 else "test"
    sources = Sources(file=Place(str(tmp_path / "r.jsonl")), split=Split(column="part"))

    def made(rows: list[dict[str, str]]) -> dict[str, list[str]]:
        (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "out").mkdir(exist_ok=True)
        prepare(sources, ("text", "label"), tmp_path / "out")
        read = {split: map(json.loads, (tmp_path / f"out/{split}.jsonl").read_text().splitlines()) for split in SHARES}
        return {split: [row["text"] for row in rows if set(row) == {"text", "label"}] for split, rows in read.items()}

    found = made(rows)
    assert found["validation"] == [f"text {number}" for number in range(60, 80)] and len(found["test"]) == 20
    assert found["train"] == [f"text {number}" for number in range(5, 60)], "texts 0 to 4 stand in test too"
    drawn = made([row for row in rows if row["part"] != "test"])
    assert drawn["validation"] == found["validation"] and 5 < len(drawn["test"]) < 12
    assert sorted(drawn["train"] + drawn["test"]) == sorted(f"text {number}" for number in range(60))
    for changed, says in (({"part": "2"}, "names splits that are none"), ({"part": "train"}, "all rows are of train")):
        with pytest.raises(BadInput, match=says):
            made([{**row, **changed} for row in rows])
    held = [{**row, "part": {"test": "Holdout", " dev": "extra"}.get(row["part"], row["part"])} for row in rows]
    with pytest.raises(BadInput, match="names splits that are none") as fault:
        made(held)
    assert sorted(fault.value.faults) == [
        "'Holdout': of 20 rows",
        "'extra': of 20 rows",
    ] and 'names = { "extra" = "test" }' in str(fault.value.fix)
    sources = replace(sources, split=Split(column="part", names={"holdout": "test", "extra": "none"}))
    assert (told := made(held))["test"] == found["test"] and 5 < len(told["validation"]) < 12
    assert (look(sources, ("text", "label"), (), {}, None) or [])[0] == "20 of 100 rows are left out: they are of no split"
    with pytest.raises(ValueError, match="which is not given"):
        Split(names={"holdout": "test"})
    sources = replace(sources, split=Split(column="part"))
    with pytest.raises(BadInput, match="no column 'part'") as fault:
        made([{"text": row["text"], "label": row["label"]} for row in rows])
    assert 'write split = { column = "NAME" } in [data]' in str(fault.value.fix)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('file = "a.csv"\ntrain = "b.csv"', "give one of `file`, train/validation/test and `builtin`"),
        ('file = "a.csv"\nbuiltin = "intents"', "give one of `file`"),
        ('train = "a"\nvalidation = "b"\ntest = "c"\nsplit = { test = 0.2 }', "`split` says how `file` is split"),
        ('file = "a.csv"\nsplit = { test = 0.6, validation = 0.4 }', "leave no rows to train on"),
        ('file = "a.csv"\nsplit = { test = 0 }', "greater than 0"),
        ('file = "a.csv"\nsplit = { column = "x", group = "y" }', "give either `column`, which says each row's split, or `group`"),
        ('train = "a"\ntest = "c"\nsplit = { column = "x" }', "of the rows of `file`, which is not given"),
    ],
)  # fmt: skip
def test_what_cannot_be_split(table: str, says: str) -> None:
    from edgekit.config.recipe import Data

    with pytest.raises(BadInput) as fault:
        parse(tomllib.loads(table), Data, where="here", text=table)
    assert says in fault.value.text()


@pytest.mark.parametrize(
    ("rows", "groups", "what"),
    [
        ([{"text": "same", "label": "a"}] * 40, None, "they all have the same text"),
        (
            [{"text": f"text {number}", "label": "a"} for number in range(40)],
            ["x", "y"] * 20,
            "they make 2 parts that stay together",
        ),
        ([{"text": f"text {number}", "label": f"{number}"} for number in range(40)], None, "they have 40 different labels"),
    ],
)
def test_why_many_rows_are_not_split(rows: list[Row], groups: list[str] | None, what: str) -> None:
    with pytest.raises(BadInput, match=what) as fault:
        partition(rows, SPLIT, 7, groups)
    assert "40 rows are not to be split" in fault.value.text()


def test_rows_of_one_label_teach_no_head_and_their_quality_tells_little(tmp_path: Path) -> None:
    rows = "".join(f"a text {number},on\n" for number in range(40))
    (tmp_path / "rows.csv").write_text("text,label\n" + rows)
    sources = Sources(file=Place(str(tmp_path / "rows.csv")), split=SPLIT)
    (note,) = look(sources, ("text", "label"), (), {}, ("off", "on")) or []
    assert note.startswith("all rows to train on have the label 'on'")
    with pytest.raises(BadInput, match="a head learns to tell several apart"):
        look(sources, ("text", "label"), (), {}, None)
