"""The one line for images and sounds: class folders, files of splits, columns that hold files."""

from __future__ import annotations

import base64
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from edgekit.draft.draft import Asked, Draft, draft, told_apart
from edgekit.draft.rows import read_for_draft
from edgekit.draft.seen import Unclear
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.models.sounds import write_wav
from edgekit.plan.make import make_plan
from tests import tiny_sounds
from tests.tiny_images import LABELS, made_embedder, made_model, picture, write_png

DRAW = np.random.default_rng(5)
SPLITS = {"train": 6, "validation": 3, "test": 3}


def put(folder: Path, count: int, ending: str = ".png", labels: tuple[str, ...] = LABELS) -> Path:
    """`count` images of each label in a folder of it."""
    for label in labels:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (folder / label / f"{number}{ending}").write_bytes(write_png(picture(label if label in LABELS else "red", DRAW)))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_model(tmp_path_factory.mktemp("made") / "tiny-vit")


def drafted(model: Path, data: Path | str, home: Path, **said: Any) -> tuple[dict[str, Any], Draft]:
    """The recipe, as a document, and the draft."""
    made = draft(Asked(str(model), str(data), **said), home)
    return tomllib.loads(made.text), made


def planned(made: Draft, home: Path) -> None:
    """The plan takes the draft."""
    (home / "r.toml").write_text(made.text)
    make_plan(str(home / "r.toml"), ["x86-vnni"], detect())


def test_a_folder_for_each_label_is_split_by_the_seed(model: Path, tmp_path: Path) -> None:
    put(tmp_path / "photos", 8)
    for other in ("README.md", ".DS_Store", "dark/.DS_Store"):
        (tmp_path / "photos" / other).write_text("of no row")
    recipe, made = drafted(model, tmp_path / "photos", tmp_path)
    assert (recipe["task"], recipe["data"]) == ("image-classification", {"file": "photos/*/*.png"})
    assert any(one.setting == "data.split" and "no folder of a split" in one.reason for one in made.seen)
    planned(made, tmp_path)


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("training", "val", "testing")])
def test_folders_of_splits_are_found_by_their_names(names: tuple[str, ...], model: Path, tmp_path: Path) -> None:
    for name, (split, count) in zip(names, SPLITS.items(), strict=True):
        put(tmp_path / "photos" / name, count, ".jpg" if split == "test" else ".png")
    recipe, made = drafted(model, tmp_path / "photos", tmp_path)
    endings = {"train": "*.png", "validation": "*.png", "test": "*.jpg"}
    assert recipe["data"] == {split: f"photos/{name}/*/{endings[split]}" for name, split in zip(names, SPLITS, strict=True)}
    assert "18 / 9 / 9" in {one.value for one in made.seen}
    planned(made, tmp_path)


def test_a_label_may_be_called_as_a_split_is(tmp_path: Path) -> None:
    labels = ("test", "train", "tram")
    folder = made_model(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}
    (folder / "config.json").write_text(json.dumps(config))
    for label in labels:
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "photos" / label / f"{number}.png").write_bytes(write_png(picture("red", DRAW)))
    recipe, made = drafted(folder, tmp_path / "photos", tmp_path)
    assert recipe["data"] == {"file": "photos/*/*.png"}
    planned(made, tmp_path)


def test_files_of_several_endings_are_one_pattern(model: Path, tmp_path: Path) -> None:
    put(put(tmp_path / "photos", 4, ".PNG"), 4, ".jpeg")
    recipe, made = drafted(model, tmp_path / "photos", tmp_path)
    assert recipe["data"] == {"file": "photos/*/*.*"}
    planned(made, tmp_path)


def test_a_folder_of_rows_that_has_grown_is_the_same_one(model: Path, tmp_path: Path) -> None:
    """And not another one of its name, nor one that it lies in."""
    put(tmp_path / "photos", 4)
    _, there = drafted(model, tmp_path / "photos", tmp_path)
    put(tmp_path / "photos", 4, ".jpg")
    _, grown = drafted(model, tmp_path / "photos", tmp_path)
    assert there.text != grown.text and told_apart(there.text, grown, tmp_path) == []
    _, other = drafted(model, put(tmp_path / "q" / "photos", 4), tmp_path)
    _, inner = drafted(model, put(tmp_path / "photos" / "photos" / "photos", 4), tmp_path)
    for one, two in ((there, other), (other, there), (there, inner), (inner, there)):
        assert [fault[:11] for fault in told_apart(one.text, two, tmp_path)] == ["rows: there"]


def test_a_flat_folder_has_no_labels(model: Path, tmp_path: Path) -> None:
    put(tmp_path, 16, labels=("red",))
    recipe, made = drafted(model, tmp_path / "red", tmp_path)
    assert recipe["data"] == {"file": "red/*.png", "answers": "original"}
    planned(made, tmp_path)


def rows() -> list[dict[str, Any]]:
    return [{"picture": write_png(picture(label, DRAW)), "kind": label} for label in LABELS * 8]


def as_parquet(folder: Path) -> Path:
    held = [{"img": {"bytes": row["picture"], "path": None}, "label": row["kind"], "note": "a b c"} for row in rows()]
    parquet.write_table(pyarrow.Table.from_pylist(held), folder / "rows.parquet")
    return folder / "rows.parquet"


def as_lines(folder: Path) -> Path:
    held = [{"picture": base64.b64encode(row["picture"]).decode(), "kind": row["kind"]} for row in rows()]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    return folder / "rows.jsonl"


def as_metadata(folder: Path) -> Path:
    """As imagefolder of datasets has it: a table that names the files beside it, in one folder with a text about them."""
    home = folder / "photos"
    home.mkdir()
    lines = ["file_name,label"]
    for number, row in enumerate(rows()):
        (home / f"{number}.png").write_bytes(row["picture"])
        lines.append(f"{number}.png,{row['kind']}")
    (home / "metadata.csv").write_text("\n".join(lines) + "\n")
    (home / "LICENSE.txt").write_text("nobody's")
    return home


def with_clips(folder: Path, *homes: str) -> Path:
    """Ten sounds in each of these folders."""
    for home in homes:
        (folder / home).mkdir(parents=True, exist_ok=True)
        for number in range(10):
            (folder / home / f"a{number}.wav").write_bytes(write_wav(np.zeros(80, np.float32), 8000))
    return folder


def table(path: Path, form: str, column: str = "file_name", text: str = "transcription") -> None:
    """A table of ten rows, `form` with the number of each."""
    mark = "\t" if path.suffix == ".tsv" else ","
    rows = [[column, text], *([form.format(number), "abc"[number % 3]] for number in range(10))]
    path.write_text("".join(f"{mark.join(row)}\n" for row in rows))


@pytest.mark.parametrize(
    ("tables", "homes", "found"),
    [
        ({"metadata.csv": "clips/a{}.wav"}, ["clips"], {"file": "metadata.csv"}),
        ({"train.csv": "clips/a{}.wav"}, ["clips"], {"file": "train.csv"}),
        ({"validated.tsv": "clips/a{}.wav", "more.tsv": "{}"}, ["clips"], {"file": "validated.tsv"}),
        ({"labels.csv": "images/a/a{}.wav"}, ["images/a"], {"file": "labels.csv"}),
        ({"train.csv": "clips/a{}.wav", "test.csv": "clips/a{}.wav"}, ["clips"], {"train": "train.csv", "test": "test.csv"}),
        (
            {"train/metadata.csv": "a{}.wav", "test/metadata.csv": "a{}.wav"},
            ["train", "test"],
            {"train": "train/metadata.csv", "test": "test/metadata.csv"},
        ),
        ({"classes.csv": "{}"}, ["high", "low"], {"file": "*/*.wav"}),
    ],
)
def test_a_table_that_names_the_files_says_what_they_are(
    tables: dict[str, str], homes: list[str], found: dict[str, str], tmp_path: Path
) -> None:
    """And the folders that they lie in say nothing then; a table of other things leaves folders of labels as they are."""
    with_clips(tmp_path, *homes)
    for name, form in tables.items():
        table(tmp_path / name, form)
    rows = read_for_draft(str(tmp_path))
    assert {key: place.path for key, place in rows.places.items()} == {key: str(tmp_path / name) for key, name in found.items()}
    assert ("transcription" in rows.every[0]) == ("*/*.wav" not in found.values())


@pytest.mark.parametrize(
    ("tables", "homes", "says"),
    [
        ({"a.csv": "clips/a{}.wav", "b.jsonl": "", "c.tsv": "clips/a{}.wav"}, ["clips"], ("a.csv", "c.tsv", "--data ")),
        ({"train.tsv": "clips/a{}.wav", "validated.tsv": "clips/a{}.wav", "test.tsv": "clips/a{}.wav", "other.tsv": "clips/a{}.wav"}, ["clips"],
         ("other.tsv",)),
        ({"train.csv": "a{}.wav"}, ["clips"], ("'a0.wav'", "as in clips/a0.wav")),
        ({"metadata.csv": "a{}"}, ["wavs"], ("'a0'", "as in wavs/a0.wav")),
        ({"train.csv": "/data/clips/a{}.wav"}, ["clips"], ("'/data/clips/a0.wav'", "as in clips/a0.wav")),
        ({"all.csv": "train/a{0}.wav,x\ntest/a{0}.wav"}, ["train", "test"], ("train, test",)),
        ({"train/metadata.csv": "a{}.wav", "more/metadata.csv": "a{}.wav"}, ["train", "more"], ("more/metadata.csv", "--data ")),
    ],
)  # fmt: skip
def test_tables_of_which_none_is_plainly_meant_are_told(
    tables: dict[str, str], homes: list[str], says: tuple[str, ...], tmp_path: Path
) -> None:
    with_clips(tmp_path, *homes)
    for name, form in tables.items():
        table(tmp_path / name, form)
    with pytest.raises(BadInput) as fault:
        read_for_draft(str(tmp_path))
    told = " ".join([fault.value.what, *fault.value.faults, str(fault.value.fix)])
    assert all(part in told for part in says), told


@pytest.mark.parametrize(
    ("write", "columns"),
    [
        (as_parquet, {"image": "img"}),
        (as_lines, {"image": "picture", "label": "kind"}),
        (as_metadata, {"image": "file_name"}),
    ],
)
def test_the_column_of_images_is_seen_by_what_it_holds(
    write: Any, columns: dict[str, str], model: Path, tmp_path: Path
) -> None:
    recipe, made = drafted(model, write(tmp_path), tmp_path)
    assert recipe["task"] == "image-classification" and recipe["data"]["columns"] == columns
    planned(made, tmp_path)


def test_several_columns_of_images_are_a_question(model: Path, tmp_path: Path) -> None:
    held = [{"left": row["picture"], "right": row["picture"], "label": row["kind"]} for row in rows()]
    parquet.write_table(pyarrow.Table.from_pylist(held), tmp_path / "rows.parquet")
    with pytest.raises(Unclear) as question:
        drafted(model, tmp_path / "rows.parquet", tmp_path)
    assert [choice.options for choice in question.value.choices] == ["--column image=left", "--column image=right"]


def test_embeddings_are_what_a_model_without_labels_is_for(model: Path, tmp_path: Path) -> None:
    put(tmp_path / "photos", 8)
    clip = made_embedder(tmp_path / "clip", "clip")
    for folder, said in ((clip, {}), (model, {"task": "image-feature-extraction"})):
        recipe, made = drafted(folder, tmp_path / "photos", tmp_path, **said)
        assert recipe["task"] == "image-feature-extraction" and recipe["data"] == {"file": "photos/*/*.png"}
        planned(made, tmp_path)


def test_labels_that_are_not_the_models_are_told(model: Path, tmp_path: Path) -> None:
    put(tmp_path / "photos", 6, labels=("dark", "verdant", "red"))
    with pytest.raises(Unclear) as question:
        drafted(model, tmp_path / "photos", tmp_path)
    assert "--label verdant=green" in {choice.options for choice in question.value.choices}
    recipe, _ = drafted(model, tmp_path / "photos", tmp_path, labels={"verdant": "green"})
    assert recipe["data"]["labels"] == {"verdant": "green"}


def test_a_head_is_trained_where_that_is_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "photos", 8)
    vit = made_embedder(tmp_path / "vit", "vit")
    recipe, made = drafted(vit, tmp_path / "photos", tmp_path, task="image-classification")
    assert recipe["task"] == "image-classification" and recipe["model"] == {"id": "vit", "finetune": {}}
    planned(made, tmp_path)


@pytest.mark.parametrize("family", tiny_sounds.FAMILIES)
def test_sounds_are_the_same(family: str, tmp_path: Path) -> None:
    model = tiny_sounds.made_model(tmp_path / "heard by", family)
    for label in tiny_sounds.LABELS:
        (tmp_path / "heard" / label).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "heard" / label / f"{number}.wav").write_bytes(write_wav(tiny_sounds.noise(label, DRAW), 8000))
    recipe, made = drafted(model, tmp_path / "heard", tmp_path)
    assert (recipe["task"], recipe["data"]) == ("audio-classification", {"file": "heard/*/*.wav"})
    planned(made, tmp_path)


def test_speech_is_written(tmp_path: Path) -> None:
    model = tiny_sounds.made_model(tmp_path / "hears", "wav2vec2", head="ForCTC", layers=1)
    rows = [
        {
            "audio": base64.b64encode(write_wav(tiny_sounds.noise("low", DRAW), 8000)).decode(),
            "transcription": "TEA" * (number + 1),  # one word each, which is known for a text by its name alone
        }
        for number in range(12)
    ]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe, made = drafted(model, tmp_path / "said.jsonl", tmp_path)
    with pytest.raises(BadInput) as fault:
        draft(Asked(str(model)), tmp_path)
    assert "--data FILE: a table of files and of what is said" in str(fault.value.fix) and "label" not in str(fault.value.fix)
    assert (recipe["task"], recipe["data"]) == (
        "automatic-speech-recognition",
        {"file": "said.jsonl", "columns": {"text": "transcription"}},
    )
    planned(made, tmp_path)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("{away}/a0.wav", "'audio' names a file outside the folder of its rows"),
        ("b0.wav", "'audio' names a file that is not there: 'b0.wav', below {home}"),
    ],
)
def test_why_a_named_file_is_not_read(place: str, says: str, tmp_path: Path) -> None:
    model = tiny_sounds.made_model(tmp_path / "hears", "wav2vec2", head="ForCTC", layers=1)
    away, home = with_clips(tmp_path, "away") / "away", tmp_path / "rows"
    home.mkdir()
    table(home / "said.csv", place.format(away=away), "audio")
    with pytest.raises(BadInput) as fault:
        drafted(model, home / "said.csv", tmp_path)
    assert says.format(home=home) in " ".join(fault.value.faults), fault.value.faults


def broken(home: Path) -> None:
    put(home, 2)
    (home / "dark" / "notes.txt").write_text("dark ones")
    (home / "loose.png").write_bytes(b"")
    (home / "red" / "more").mkdir()
    (home / "red" / "more" / "a.png").write_bytes(b"")


def several(home: Path) -> None:
    for name in ("train", "training", "other"):
        put(home / name, 1)


def untrained(home: Path) -> None:
    put(home / "test", 1)
    put(home / "val", 1)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (broken, ("dark/notes.txt: neither an image", "loose.png: beside", "red/more: a folder within")),
        (several, ("other: no folder of a split", "train, training: several folders for train")),
        (untrained, ("no folder to train on, only val, test",)),
    ],
)
def test_all_faults_of_folders_are_told_at_once(write: Any, said: tuple[str, ...], model: Path, tmp_path: Path) -> None:
    write(tmp_path / "photos")
    with pytest.raises(BadInput) as fault:
        drafted(model, tmp_path / "photos", tmp_path)
    assert all(one in fault.value.text() for one in said)


def test_files_that_are_no_images_are_told_at_once(model: Path, tmp_path: Path) -> None:
    put(tmp_path / "photos", 8)
    for name in ("dark/1.png", "green/0.png", "red/2.png"):
        (tmp_path / "photos" / name).write_bytes(b"no image")
    _, made = drafted(model, tmp_path / "photos", tmp_path)
    with pytest.raises(BadInput) as fault:
        planned(made, tmp_path)
    assert "3 of 24 files cannot be used" in fault.value.text()
    assert all(f"{name}:1: 'image' no image" in fault.value.text() for name in ("dark/1.png", "green/0.png", "red/2.png"))


def test_a_folder_of_files_none_of_which_can_be_used(model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos" / "red").mkdir(parents=True)
    (tmp_path / "photos" / "red" / "1.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match="no image or sound that can be used") as fault:
        drafted(model, tmp_path / "photos", tmp_path)
    assert "1.png: no image of a kind that is read here" in fault.value.text()


def test_images_are_not_read_to_be_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.data.formats import image

    put(tmp_path / "photos", 8)
    read: list[Path] = []
    monkeypatch.setattr(image, "read_bytes", lambda path, packing: read.append(path) or path.read_bytes())
    drafted(model, tmp_path / "photos", tmp_path)
    assert len(read) == 1


def test_rows_of_texts_are_no_images(model: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("text,label\n" + "a b c,red\nd e f,dark\n" * 4)
    with pytest.raises(BadInput, match="no task fits") as fault:
        drafted(model, tmp_path / "r.csv", tmp_path)
    assert "image-classification: no column of the rows could be its image" in fault.value.text()
