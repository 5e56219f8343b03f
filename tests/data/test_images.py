"""Rows of images: in a file, beside it by path, in a folder for each label; and what is no image, or not beside its rows."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.data.parts import files_of
from edgekit.data.rows import read_rows
from edgekit.errors import BadInput
from tests.tiny_images import as_text, picture, rows_of, write_png

COLUMNS = ("image", "label")
PNG = write_png(picture("red", np.random.default_rng(0)))


def test_every_form_gives_the_file_back(tmp_path: Path) -> None:
    rows_of(tmp_path, (3, 3, 3))
    for name in ("train.jsonl", "validation.csv", "test.parquet"):
        rows = read_rows(tmp_path / name, COLUMNS)
        assert len(rows) == 3 and all(base64.b64decode(str(row["image"])).startswith(b"\x89PNG") for row in rows)
        assert [row["label"] for row in rows] == ["dark", "green", "red"]


def test_a_folder_for_each_label(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_bytes(PNG)
    files = files_of(str(tmp_path / "*" / "*.png"))
    assert [row for file in files for row in read_rows(file, COLUMNS)] == [
        {"image": as_text(PNG), "label": label} for label in ("cat", "dog")
    ]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("../secret.png", "outside the folder"), ("/etc/hostname", "outside the folder"),
        ("none.png", "'image' names a file that is not there: 'none.png', below /"), ("a/b c", "a file that is not there"),
        ("no file", "no base64"),
        ("text.txt", "no image of a kind"), ("", "is empty"), (5, "is int, not an image"), (None, "is null, not an image"),
        ({"path": "a.png", "bytes": None}, "holds no bytes"), (as_text(PNG[:60]), "not a readable image"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_named(image: object, said: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "text.txt").write_text("a text")
    path = tmp_path / "rows" / "rows.jsonl"
    path.write_text(
        json.dumps({"image": as_text(PNG), "label": "a"}) + "\n" + json.dumps({"image": image, "label": "b"}) + "\n"
    )
    with pytest.raises(BadInput) as fault:
        read_rows(path, COLUMNS)
    assert said in fault.value.what and fault.value.where == f"{path}:2"


def test_a_link_out_of_the_folder_is_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "rows" / "rows.csv").write_text("image,label\nlink.png,a\n")
    with pytest.raises(BadInput, match="outside the folder"):
        read_rows(tmp_path / "rows" / "rows.csv", COLUMNS)
