"""Rows as they lie: a folder of files for each split or of parts of one, patterns, and splits that are drawn as there is no file for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.config.recipe import Data
from edgekit.data.sources import SPLITS, Sources, sources_of
from edgekit.data.splits import prepare, source_digest
from edgekit.draft.draft import _sources
from edgekit.draft.rows import read_for_draft
from edgekit.errors import BadInput

COLUMNS = ("text", "label")


def put(path: Path, first: int, count: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ({"text": f"a text {number}", "label": "ab"[number % 2]} for number in range(first, first + count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def drafted(folder: Path) -> list[str]:
    return _sources(read_for_draft(str(folder)), folder.parent)


def read(lines: list[str], folder: Path, out: Path) -> dict[str, int]:
    """Rows of each split of a recipe with these lines of [data]."""
    import tomllib

    out.mkdir()
    sources = sources_of(Data(**tomllib.loads("\n".join(lines))), folder, 7)
    prepare(sources, COLUMNS, out)
    return {split: len((out / f"{split}.jsonl").read_text().splitlines()) for split in SPLITS}


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (["train.jsonl", "valid.jsonl", "test.jsonl"], ['train = "d/train.jsonl"', 'validation = "d/valid.jsonl"', 'test = "d/test.jsonl"']),
        (["intents_train.jsonl", "intents_dev.jsonl", "intents_test.jsonl"], [
            'train = "d/intents_train.jsonl"', 'validation = "d/intents_dev.jsonl"', 'test = "d/intents_test.jsonl"']),
        (["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "data/test-00000-of-00001.jsonl", "README.md"], [
            'train = "d/data/train-0000*.jsonl"', 'test = "d/data/test-00000-of-00001.jsonl"']),
        (["train.jsonl", "validation.jsonl"], ['train = "d/train.jsonl"', 'validation = "d/validation.jsonl"']),
        (["a.jsonl", "aa.jsonl", "b.jsonl"], ['file = "d/*.jsonl"']),
        (["only.jsonl"], ['file = "d/only.jsonl"']),
    ],
    ids=["a file for each split", "with names of their own", "parts, as on the hub", "no test rows", "parts of one", "one file"],
)  # fmt: skip
def test_a_folder_says_what_its_files_are_and_every_split_has_rows(names: list[str], lines: list[str], tmp_path: Path) -> None:
    for number, name in enumerate(names):
        put(tmp_path / "d" / name, 100 * number)
    assert drafted(tmp_path / "d") == [line.replace("0000*.jsonl", "0000*.jsonl") for line in lines]
    counts = read(lines, tmp_path, tmp_path / "out")
    files = [name for name in names if name.endswith(".jsonl")]
    assert sum(counts.values()) == 30 * len(files) and all(count >= 4 for count in counts.values()), counts
    rows = read_for_draft(str(tmp_path / "d"))
    assert rows.count == 30 * len(files) and rows.trained + rows.tested <= rows.count


def test_a_document_with_a_list_for_each_split(tmp_path: Path) -> None:
    rows = [[f"turn on the light {number}", "on" if number % 2 else "off"] for number in range(60)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"val": rows[40:50], "train": rows[:30], "oos_train": rows[30:40], "test": rows[50:]}))
    found = read_for_draft(str(path))
    assert (found.count, found.trained, found.tested) == (60, 40, 10)
    assert found.split.reason.endswith("by the names of the lists")
    assert {key: place.more["members"] for key, place in found.places.items()} == {
        "train": ["train", "oos_train"], "validation": ["val"], "test": ["test"],
    }  # fmt: skip
    assert found.every[0] == {"column 1": "turn on the light 0", "column 2": "off"}
    path.write_text(json.dumps({"train": rows, "test": rows, "rest": rows}))
    with pytest.raises(BadInput, match=r'members = \["train", "test", "rest"\]'):
        read_for_draft(str(path))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "no data files"),
        (["README.md"], "no data files"),
        (["data-00000-of-00001.arrow", "state.json", "dataset_info.json"], "as datasets. save_to_disk writes it"),
        (["train.jsonl", "more.jsonl"], "which files are for training"),
        (["test.jsonl", "validation.jsonl"], "which files are for training"),
        (["a.jsonl", "b.txt"], "of several kinds"),
    ],
)
def test_a_folder_that_does_not_say_it_is_refused(names: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in names:
        put(tmp_path / "d" / name, 0)
    with pytest.raises(BadInput, match=says):
        drafted(tmp_path / "d")


def test_a_pattern_is_read_in_the_order_of_names_and_known_by_all_of_its_files(tmp_path: Path) -> None:
    for number, name in enumerate(("b.jsonl", "a.jsonl")):
        put(tmp_path / name, 100 * number)
    data = Data(file="*.jsonl")  # type: ignore[arg-type]  # a path alone is read as a table
    sources = sources_of(data, tmp_path, 7)
    assert sources.file is not None and [path.name for path in sources.file.files] == ["a.jsonl", "b.jsonl"]
    before = source_digest(sources)
    put(tmp_path / "b.jsonl", 500)
    assert source_digest(sources) != before
    with pytest.raises(BadInput, match="no file matches"):
        source_digest(sources_of(Data(file="*.csv"), tmp_path, 7))  # type: ignore[arg-type]


def test_a_drawn_split_shares_no_text_with_another_and_the_seed_draws_it(tmp_path: Path) -> None:
    put(tmp_path / "train.jsonl", 0, 100)
    put(tmp_path / "test.jsonl", 90, 20)
    lines = ['train = "train.jsonl"', 'test = "test.jsonl"', "split = { validation = 0.2 }"]
    counts = read(lines, tmp_path, tmp_path / "one")
    assert counts["test"] == 20 and 16 <= counts["validation"] <= 20 and counts["train"] <= 80
    texts = {split: set((tmp_path / "one" / f"{split}.jsonl").read_text().splitlines()) for split in SPLITS}
    assert not texts["train"] & texts["validation"] and not (texts["train"] | texts["validation"]) & texts["test"]
    assert read(lines, tmp_path, tmp_path / "two") == counts
    assert (tmp_path / "one" / "validation.jsonl").read_text() == (tmp_path / "two" / "validation.jsonl").read_text()


def test_a_recipe_without_training_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="train missing"):
        Data(validation="a.jsonl", test="b.jsonl")  # type: ignore[arg-type]
    assert Sources().splits() == []


@pytest.mark.parametrize(
    ("there", "lines"),
    [
        (("train", "validation", "test"), ["train", "validation", "test"]),
        (("train", "test"), ["train", "test"]),
        (("train",), ["file"]),
    ],
)
def test_a_hub_data_set_is_read_in_the_splits_that_it_has(
    there: tuple[str, ...], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(name: str, config: str | None, *, split: str, revision: str | None) -> object:
        asked.append((name, config, revision))
        if split not in there:
            raise ValueError(f"Unknown split {split!r}")
        names = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["off", "on"])})
        return datasets.Dataset.from_dict(
            {"text": [f"a text {number}" for number in range(20)], "label": [0, 1] * 10}, features=names
        )

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr("edgekit.data.hub.first_answer", lambda *_: 0)  # the hub answers
    rows = read_for_draft("hub:owner/name@v1#small")
    assert _sources(rows, None) == [f'{line} = "hub:owner/name@v1#small"' for line in lines]
    assert set(asked) == {("owner/name", "small", "v1")} and rows.every[1]["label"] == "on"
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: (_ for _ in ()).throw(ValueError("Config name is missing")))
    with pytest.raises(BadInput, match="hub:owner/name#CONFIG"):
        read_for_draft("hub:owner/name")
