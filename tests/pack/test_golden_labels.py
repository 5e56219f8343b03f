"""Golden inputs show every label that test rows show, so that no two labels can change places unnoticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.pack import golden as room
from edgekit.pack.bundle import write_bundle
from edgekit.pack.golden import make_golden
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.processors import Asked
from edgekit.runtime.providers.names import CPU
from edgekit.tasks.encode import labels_shown
from tests.tiny_manifest import rewrite_manifest, signature, tiny_manifest
from tests.tiny_onnx import LABELS, WORDS, write_variant

DRAW = np.random.default_rng(0)
TEXTS = [" ".join(DRAW.choice(WORDS[4:], size=3 + number % 6)) for number in range(200)]


def made(folder: Path, shown: list[set[str]], texts: list[str] = TEXTS, **asked: Any) -> list[dict[str, Any]]:
    task = "multi-label-classification" if "threshold" in asked else "text-classification"
    document = make_golden(
        folder / "model.onnx", folder / "tokenizer.json", task, texts, Asked(LABELS, **asked), max_length=16, provider=CPU, shown=shown
    )  # fmt: skip
    rows: list[dict[str, Any]] = document["rows"]
    return rows


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_variant(tmp_path_factory.mktemp("variant"))


@pytest.fixture(scope="module")
def answers(variant: Path) -> dict[str, str]:
    """The model's own answer to each of the texts that differ."""
    rows = [row for start in range(0, len(TEXTS), 20) for row in made(variant, [], TEXTS[start : start + 20])]
    return {row["input"]: row["answer"] for row in rows if row["input"] in TEXTS}


def test_a_label_of_one_row_among_many_is_shown(variant: Path, answers: dict[str, str]) -> None:
    rare = "ask"
    common = [text for text, answer in answers.items() if answer != rare]
    lone = next(text for text, answer in answers.items() if answer == rare)
    texts = sorted([*common, lone], key=len)
    without = [row["input"] for row in made(variant, [], texts)]
    rows = made(variant, [{answers[text]} for text in texts], texts)
    assert [row["input"] for row in rows[: len(without)]] == without, "what was chosen before is chosen still"
    assert lone in [row["input"] for row in rows]
    assert made(variant, [{answers[text]} for text in texts], texts) == rows


def test_a_row_that_the_model_answers_so_is_taken_where_there_is_one(variant: Path, answers: dict[str, str]) -> None:
    texts = sorted(answers, key=lambda text: (len(text), text))
    wrong = [text for text in texts if answers[text] != "ask"]
    right = next(text for text in texts if answers[text] == "ask")
    for labelled, wanted in (([*wrong[:3], right], right), (wrong[:9], wrong[0])):
        given = [text for text in texts if answers[text] == "on"][20:40] + labelled
        rows = made(variant, [{"ask"} if text in labelled else set() for text in given], given)
        assert rows[-1]["input"] == wanted or wanted in [row["input"] for row in rows]
        assert any(row["input"] in labelled for row in rows)


def test_what_is_kept_for_labels_is_bounded(variant: Path, answers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "COUNT", len(room.ODD))  # none but those of labels
    texts = list(answers)
    assert [row["answer"] for row in made(variant, [{answers[text]} for text in texts], texts)] == LABELS
    monkeypatch.setattr(room, "MOST_LABEL_NUMBERS", 7)
    assert [row["answer"] for row in made(variant, [{answers[text]} for text in texts], texts)] == LABELS[:2]


def test_labels_that_each_apply_or_not(variant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "COUNT", len(room.ODD))
    rows = made(variant, [set(LABELS)] * len(TEXTS), threshold=0.3)
    assert {label for row in rows for label in row["answer"]} == set(LABELS) and len(rows) <= 3


def test_the_labels_of_rows() -> None:
    assert labels_shown({"text": "on", "label": "off"}, LABELS) == {"off"}
    assert labels_shown({"text": "x", "label": ["off", "ask", "other"]}, LABELS) == {"off", "ask"}
    assert labels_shown({"tokens": ["on"], "tags": ["off", "O"]}, LABELS) == {"off"}
    assert labels_shown({"question": "on", "context": "on", "answers": {"text": ["on"]}}, []) == set()


def test_labels_exchanged_everywhere_are_noticed_by_verify(variant: Path, answers: dict[str, str], tmp_path: Path) -> None:
    golden = {"rows": made(variant, [{answers.get(text, "on")} for text in TEXTS])}
    manifest = tiny_manifest(
        labels=LABELS, vocabulary=len(WORDS), golden=len(golden["rows"]), max_length=16, **signature(variant / "model.onnx")
    )
    files = {path.name: path for path in variant.iterdir()}
    (tmp_path / "bundle").mkdir()
    write_bundle(tmp_path / "bundle", manifest, files=files, texts={"golden.json": json.dumps(golden)})
    assert verify(tmp_path / "bundle")["ok"]
    for number, other in ((0, 1), (0, 2), (1, 2)):
        folder = shutil.copytree(tmp_path / "bundle", tmp_path / f"{number}-{other}")
        labels = list(LABELS)
        labels[number], labels[other] = labels[other], labels[number]
        (folder / "config.json").write_text(json.dumps({"id2label": dict(enumerate(labels))}))
        rewrite_manifest(folder, lambda document: document["edgekit"].update(labels=labels))  # noqa: B023
        with pytest.raises(CheckFailed, match="golden inputs are not right"):
            verify(folder)
