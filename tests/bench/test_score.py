"""Scores come from the very file that is timed, a row at a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.bench.score import read_rows, score
from edgekit.errors import BadInput, CheckFailed
from tests.tiny_onnx import LABELS, WORDS, write_rows, write_variant


@pytest.fixture
def variant(tmp_path: Path) -> Path:
    return write_variant(tmp_path / "variant")


def scored(folder: Path, rows: Path) -> np.ndarray:
    return score(folder / "model.onnx", folder, read_rows(rows), task="text-classification", max_length=32)


def test_each_row_is_right_or_wrong_as_the_model_says(variant: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    constants = {item.name: numpy_helper.to_array(item) for item in onnx.load(str(variant / "model.onnx")).graph.initializer}
    rows = [json.loads(line) for line in write_rows(tmp_path / "rows.jsonl").read_text().splitlines()]
    expected = []
    for row in rows:
        ids = [2, *(WORDS.index(word) for word in row["text"].split()), 3]
        logits = constants["table"][ids].mean(axis=0) @ constants["weight"]
        expected.append(float(LABELS[int(logits.argmax())] == row["label"]))
    found = scored(variant, tmp_path / "rows.jsonl")
    assert found.dtype == np.float64 and found.shape == (30, 1)
    assert found[:, 0].tolist() == expected


@pytest.mark.parametrize("letter", ["\x85", "\u2028", "\u2029"])
def test_a_row_ends_at_a_line_feed_alone(letter: str, variant: Path, tmp_path: Path) -> None:
    """JSON may hold these characters as they are, and `str.splitlines` splits at them."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": f"turn{letter}it on", "label": LABELS[0]}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert scored(variant, rows).shape == (1, 1)


def test_progress_reaches_the_end(variant: Path, tmp_path: Path) -> None:
    said: list[tuple[float, float]] = []
    rows = write_rows(tmp_path / "rows.jsonl")
    progress = lambda done, total, text: said.append((done, total))  # noqa: E731
    score(variant / "model.onnx", variant, read_rows(rows), task="text-classification", max_length=32, progress=progress)
    assert said[0] == (0, 30) and said[-1] == (30, 30)


def test_a_label_that_the_model_does_not_know(variant: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "turn it on", "label": "purple"}\n')
    with pytest.raises(BadInput, match="purple"):
        scored(variant, rows)


def test_a_model_that_answers_nan_has_no_score(tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    folder = write_variant(tmp_path / "variant")
    model = onnx.load(str(folder / "model.onnx"))
    for item in model.graph.initializer:
        if item.name == "weight":
            item.CopyFrom(numpy_helper.from_array(np.full((8, 3), np.nan, dtype=np.float32), "weight"))
    onnx.save(model, str(folder / "model.onnx"))
    with pytest.raises(CheckFailed, match="NaN"):
        scored(folder, write_rows(tmp_path / "rows.jsonl"))


def test_no_rows_and_no_model(variant: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(BadInput, match="no rows"):
        scored(variant, tmp_path / "empty.jsonl")
    (variant / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(BadInput, match="cannot load"):
        scored(variant, write_rows(tmp_path / "rows.jsonl"))
